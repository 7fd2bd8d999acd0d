//! The token that a `KoCoBox` wants in a header: out of the page after login, or out of a cookie, renewed by later answers.
//! Absent on purpose: a guess at cookie names; none is publicly known.

use crate::secret::Secret;

/// What is known of the token so far.
#[derive(Default)]
pub(super) struct Token {
    value: Option<Secret>,
    of_page: bool,
    /// The cookie that was seen to carry the very token: it renews it.
    cookie: Option<String>,
    /// A cookie of the token's service that may be it: used where the page had none, or its token is refused.
    candidate: Option<(String, Secret)>,
}

impl Token {
    /// The one to send now.
    pub(super) fn current(&self) -> Option<Secret> {
        self.value.as_ref().or(self.candidate.as_ref().map(|(_, value)| value)).cloned()
    }

    /// The page's token counts more than any cookie's.
    pub(super) fn take_from_page(&mut self, value: Secret) {
        let same = self.candidate.as_ref().filter(|(_, candidate)| candidate.reveal() == value.reveal());
        self.cookie = same.map(|(name, _)| name.clone()).or_else(|| self.cookie.take());
        self.value = Some(value);
        self.of_page = true;
    }

    /// Whether a page carries it.
    pub(super) fn is_of_page(&self) -> bool {
        self.of_page
    }

    /// Takes the cookies an answer set; `tokens`: it is the answer of the service known to set the token.
    pub(super) fn note_cookies(&mut self, cookies: &[(String, Secret)], tokens: bool, session: &[String]) {
        let is_session = |name: &str| session.iter().any(|s| s.eq_ignore_ascii_case(name));
        for (name, value) in cookies {
            if self.cookie.as_deref() == Some(name) {
                self.value = Some(value.clone());
            } else if self.value.as_ref().is_some_and(|token| token.reveal() == value.reveal()) {
                self.cookie = Some(name.clone());
            } else if self.candidate.as_ref().is_some_and(|(candidate, _)| candidate == name)
                || (tokens && self.candidate.is_none() && !is_session(name))
            {
                self.candidate = Some((name.clone(), value.clone()));
            }
        }
        if tokens && self.current().is_none() {
            self.candidate = cookies.first().cloned();
        }
    }

    /// After `sent` was refused: whether there is another one to try.
    pub(super) fn moved_from(&mut self, sent: Option<&Secret>) -> bool {
        let differs = |token: &Secret| sent.is_none_or(|sent| sent.reveal() != token.reveal());
        if self.current().as_ref().is_some_and(differs) {
            return true;
        }
        match self.candidate.take() {
            Some((name, value)) if differs(&value) => {
                (self.cookie, self.value) = (Some(name), Some(value));
                true
            }
            kept => {
                self.candidate = kept;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(name: &str, value: &str) -> Vec<(String, Secret)> {
        vec![(name.into(), Secret::new(value.into()))]
    }

    fn current(token: &Token) -> Option<String> {
        token.current().map(|t| t.reveal().to_owned())
    }

    #[test]
    fn without_a_page_token_the_services_new_cookie_is_it_and_renews_it() {
        let session = ["JSESSIONID".to_owned()];
        let mut token = Token::default();
        token.note_cookies(&cookie("lb", "1"), false, &session);
        assert_eq!(current(&token), None);
        let both = [cookie("JSESSIONID", "s"), cookie("t", "a")].concat();
        token.note_cookies(&both, true, &session);
        assert_eq!(current(&token).as_deref(), Some("a"));
        token.note_cookies(&cookie("t", "b"), false, &session);
        assert_eq!(current(&token).as_deref(), Some("b"));
    }

    #[test]
    fn a_foreign_cookie_does_not_replace_the_pages_token_until_that_is_refused() {
        let mut token = Token::default();
        token.take_from_page(Secret::new("page".into()));
        token.note_cookies(&cookie("other", "x"), true, &[]);
        assert_eq!(current(&token).as_deref(), Some("page"));
        assert!(token.moved_from(Some(&Secret::new("page".into()))));
        assert_eq!(current(&token).as_deref(), Some("x"));
        assert!(!token.moved_from(Some(&Secret::new("x".into()))));
    }

    #[test]
    fn a_cookie_with_the_pages_token_renews_it_whichever_comes_first() {
        for page_first in [true, false] {
            let mut token = Token::default();
            if page_first {
                token.take_from_page(Secret::new("a".into()));
            }
            token.note_cookies(&cookie("t", "a"), true, &[]);
            token.take_from_page(Secret::new("a".into()));
            token.note_cookies(&cookie("t", "b"), false, &[]);
            assert_eq!(current(&token).as_deref(), Some("b"), "{page_first}");
        }
    }
}
