//! Text of others as the page shows it: nothing hidden, nothing turned round, nothing endless (Unicode TR36, TR39).
//! Absent on purpose: HTML's escapes; the templates have those, all of them.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// More marks than this over one letter are no language, and would hide the lines above.
const MARKS: usize = 4;

/// At most `most` characters of `text`; what is invisible or changes the direction becomes `⟨U+202E⟩`.
pub(super) fn visible(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most * 4));
    let mut marks = 0;
    for (n, c) in text.chars().enumerate() {
        if n == most {
            out.push('…');
            break;
        }
        marks = if c.width().unwrap_or(0) == 0 { marks + 1 } else { 0 };
        if hides(c) || marks > MARKS {
            // Writing to a String does not fail.
            write!(out, "⟨U+{:04X}⟩", u32::from(c)).ok();
        } else {
            out.push(c);
        }
    }
    out
}

/// Controls, bidi controls (UAX #9), tags, private use, and what takes no room and leaves no mark.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2800}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}')
}

/// A person's name out of `firm-jane.doe`, as people write names: `Jane Doe`.
pub(super) fn person(user: &str) -> String {
    let Ok(name) = user.parse::<crate::names::Username>() else { return visible(user, 80) };
    let Some((_, person)) = name.as_str().split_once('-') else { return visible(user, 80) };
    let upper = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
    };
    let parts: Vec<String> =
        person.split('.').map(|part| part.split('-').map(upper).collect::<Vec<_>>().join("-")).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_shown_and_what_is_written_stays() {
        assert_eq!(
            visible("rm \u{202e}txt.exe\u{200b}\x1b[2J\n", 99),
            "rm ⟨U+202E⟩txt.exe⟨U+200B⟩⟨U+001B⟩[2J⟨U+000A⟩"
        );
        assert_eq!(visible("Müller 漢字 e\u{301} עברית 👩", 99), "Müller 漢字 e\u{301} עברית 👩");
        assert_eq!(visible("abcdef", 3), "abc…");
        let zalgo = format!("a{}", "\u{301}".repeat(50));
        assert_eq!(visible(&zalgo, 99).matches('\u{301}').count(), MARKS);
    }

    #[test]
    fn a_user_reads_as_a_person_and_what_is_no_user_as_it_came() {
        assert_eq!(person("firm-jane.doe"), "Jane Doe");
        assert_eq!(person("firm-anna-lena.mueller-graf"), "Anna-Lena Mueller-Graf");
        assert_eq!(person("@schedule"), "@schedule");
        assert_eq!(person("<b>\u{202e}"), "<b>⟨U+202E⟩");
    }
}
