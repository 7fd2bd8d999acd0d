//! A phone number, as SMS gateways take it.
//! Absent on purpose: printing it in full; whoever sends to it asks for its digits by name.

use std::fmt;
use std::str::FromStr;

use super::BadName;

/// A phone number: `+` and 7 to 15 digits, the first none 0 (ITU-T E.164). Printed with all but the last two digits masked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phone(Box<str>);

impl Phone {
    /// The number, `+4915112345678`.
    #[must_use]
    pub fn number(&self) -> &str {
        &self.0
    }

    /// The number without its `+`, as some gateways want it.
    #[must_use]
    pub fn digits(&self) -> &str {
        self.0.trim_start_matches('+')
    }
}

impl FromStr for Phone {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = BadName { what: "phone", form: "+ and 7 to 15 digits, such as +4915112345678" };
        // As people write them; a 0 in brackets is nobody's number.
        let plain: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '/')).collect();
        let digits = plain.strip_prefix('+').ok_or(bad)?;
        let good = (7..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if good { Ok(Self(plain.into())) } else { Err(bad) }
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.get(self.0.len().saturating_sub(2)..).unwrap_or_default();
        write!(f, "…{last}")
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_e_164_and_is_never_printed_in_full() {
        let phone: Phone = "+49 151 1234-5678".parse().unwrap();
        assert_eq!((phone.number(), phone.digits()), ("+4915112345678", "4915112345678"));
        assert_eq!(format!("{phone} {phone:?}"), "…78 …78");
        for bad in [
            "",
            "+",
            "015112345678",
            "+0151123456",
            "+49(0)151123456",
            "+123456",
            "+1234567890123456",
            "+49x5112345678",
        ] {
            assert!(bad.parse::<Phone>().is_err(), "{bad}");
        }
    }
}
