//! An address or network as it stands in a rule: `203.0.113.0/24`, `2001:db8::7`.
//! Absent on purpose: names. They are not looked up.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A network without bits beyond its mask; an address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let net: IpNet = text.parse().map_err(|_| {
            "no address or network such as 203.0.113.7 or 203.0.113.0/24; names are not looked up".to_owned()
        })?;
        if net.trunc() == net {
            Ok(Self(net))
        } else {
            Err(format!(
                "bits beyond the mask; did you mean {}, or the one address {}?",
                net.trunc(),
                net.addr()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        text.parse::<Network>().map(|n| n.0.to_string())
    }

    #[test]
    fn an_address_alone_is_a_network_of_one() {
        assert_eq!(read("203.0.113.7"), Ok("203.0.113.7/32".into()));
        assert_eq!(read("2001:db8::7"), Ok("2001:db8::7/128".into()));
        assert_eq!(read("203.0.113.0/24"), Ok("203.0.113.0/24".into()));
    }

    #[test]
    fn bits_beyond_the_mask_are_refused_with_what_was_meant() {
        let why = read("203.0.113.7/24").unwrap_err();
        assert_eq!(why, "bits beyond the mask; did you mean 203.0.113.0/24, or the one address 203.0.113.7?");
        for text in ["", "host.example", "203.0.113.0/33", "203.0.113", "203.0.113.*"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
