//! What an HTML page of the box is: with a token, a login page again, a demand for a new password, or something else.
//! Absent on purpose: a browser. Markers of the profile are looked for, nothing is run.

use crate::konnektor::profile::{Form, Markers};
use crate::secret::Secret;

/// A page, judged.
pub(super) enum Page {
    /// Logged in; the token the page carries.
    Token(Secret),
    /// The login page.
    Login,
    /// A new password is demanded.
    PasswordChange,
    /// None of these.
    Other,
}

/// A token counts most: a page that carries one is behind the login whatever else stands in it.
pub(super) fn judge(body: &[u8], form: &Form) -> Page {
    let text = String::from_utf8_lossy(body);
    if let Some(token) = textarea(&text, &form.token.textarea) {
        return Page::Token(token);
    }
    let text = text.to_lowercase();
    if form.markers.login.iter().any(|marker| text.contains(marker)) {
        Page::Login
    } else if demands_password(&text, &form.markers) {
        Page::PasswordChange
    } else {
        Page::Other
    }
}

/// Whether a body is the login page (a service's answer after the session ended).
pub(super) fn is_login(body: &[u8], form: &Form, page_bytes: usize) -> bool {
    let text = String::from_utf8_lossy(body.get(..body.len().min(page_bytes)).unwrap_or(body));
    let text = text.to_lowercase();
    form.markers.login.iter().any(|marker| text.contains(marker))
}

fn demands_password(lower: &str, markers: &Markers) -> bool {
    let inputs = ["type=\"password\"", "type='password'", "type=password"];
    let count: usize = inputs.iter().map(|input| lower.matches(input).count()).sum();
    (markers.password_change_inputs > 0 && count >= markers.password_change_inputs)
        || (count > 0 && markers.password_change.iter().any(|marker| lower.contains(marker)))
}

/// The text of `<textarea … id="ID" …>…</textarea>`, attributes in any order and with any quotes.
fn textarea(html: &str, id: &str) -> Option<Secret> {
    let lower = html.to_ascii_lowercase();
    let mut from = 0;
    while let Some(start) = lower.get(from..)?.find("<textarea").map(|n| n + from) {
        let open = start + "<textarea".len();
        let close = lower.get(open..)?.find('>').map(|n| n + open)?;
        let end = lower.get(close..)?.find("</textarea").map(|n| n + close)?;
        let attributes = html.get(open..close)?;
        let has_id =
            [format!("id=\"{id}\""), format!("id='{id}'"), format!("id={id}")].iter().any(|wanted| {
                attributes.match_indices(wanted.as_str()).any(|(at, _)| {
                    let before = at.checked_sub(1).and_then(|n| attributes.as_bytes().get(n));
                    let after = attributes.as_bytes().get(at + wanted.len());
                    let quoted = wanted.ends_with(['"', '\'']);
                    before.is_some_and(u8::is_ascii_whitespace)
                        && (quoted || after.is_none_or(|b| b.is_ascii_whitespace() || *b == b'/'))
                })
            });
        let text = html.get(close + 1..end)?.trim();
        if has_id && !text.is_empty() && text.len() <= 4096 && text.bytes().all(|b| (0x21..0x7f).contains(&b))
        {
            return Some(Secret::new(unescaped(text)));
        }
        from = end;
    }
    None
}

/// XML's five entities; a token has no reason for others.
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::konnektor::profile::{Login, Profile};

    fn token(html: &str) -> Option<String> {
        textarea(html, "x-token").map(|t| t.reveal().to_owned())
    }

    #[test]
    fn the_token_is_found_whatever_the_attributes_order_and_not_elsewhere() {
        for html in [
            "<textarea id=\"x-token\">abc=</textarea>",
            "<TEXTAREA hidden name=t id='x-token' >\n abc= \n</TEXTAREA>",
            "<textarea id=other>no</textarea><textarea style=\"x\" id=x-token>abc=</textarea>",
        ] {
            assert_eq!(token(html).as_deref(), Some("abc="), "{html}");
        }
        for html in [
            "",
            "<textarea id=\"x-token\"></textarea>",
            "<textarea id=\"x-token-2\">a</textarea>",
            "<textarea id=x-token2>a</textarea>",
            "<textarea data-id=\"x-token\">a</textarea>",
            "<textarea id=\"x-token\">two words</textarea>",
            "<textarea id=\"x-token\">never closed",
            "<textarea",
        ] {
            assert_eq!(token(html), None, "{html}");
        }
    }

    #[test]
    fn a_login_page_is_not_a_demand_for_a_new_password_nor_the_other_way_round() {
        let Login::Form(form) = Profile::kocobox().unwrap().login else { panic!("no form") };
        let of = |html: &str| judge(html.as_bytes(), &form);
        assert!(matches!(of("<form action='/J_Security_Check'><input type=password>"), Page::Login));
        assert!(matches!(of("<input type=\"password\"><input type=\"password\">"), Page::PasswordChange));
        assert!(matches!(of("<a>Neues Passwort setzen</a>"), Page::Other));
        assert!(matches!(of("<textarea id=x-token>t</textarea> j_security_check"), Page::Token(_)));
    }
}
