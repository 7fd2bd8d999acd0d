//! How long until a gateway is dialled again. Absent on purpose: waiting.

use std::time::Duration;

use crate::random::Random;

/// How the last try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Somebody answered and it came to nothing: a refused connection, another key, a broken handshake, an end without a word.
    Answered,
    /// The network is away.
    Network,
    /// The gateway said good-bye: it is started anew, and all its sites come at once.
    Bye,
}

/// Counts tries that came to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pause {
    failures: u32,
}

impl Pause {
    /// The link was up for a good while.
    pub fn forget(&mut self) {
        self.failures = 0;
    }

    /// For how long; `took` is how long the try took.
    pub fn after(&mut self, ending: Ending, took: Duration, random: &Random) -> Duration {
        let between = |from: u64, to: u64| {
            Duration::from_millis(from + random.draw64() % to.saturating_sub(from).max(1))
        };
        match ending {
            Ending::Answered => {
                let most = (1000_u64 << self.failures.min(6)).clamp(2000, 60_000);
                self.failures = self.failures.saturating_add(1);
                between(1000, most)
            }
            // From one try's begin to the next one's: a network that is back is found within 5 s.
            Ending::Network => between(2000, 4000).saturating_sub(took).max(between(100, 400)),
            Ending::Bye => between(200, 3000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answered_failures_wait_longer_and_longer_and_a_lost_network_never_does() {
        let (least, most) = (Random::of(|| 0), Random::of(|| u128::MAX - (1 << 64)));
        let mut pause = Pause::default();
        let mut longest = Vec::new();
        for _ in 0..12 {
            let mut same = pause;
            assert_eq!(same.after(Ending::Answered, Duration::ZERO, &least), Duration::from_secs(1));
            let mut all = Duration::ZERO;
            for draw in 0..200_u64 {
                let random = Random::of(move || u128::from(draw.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 64);
                let mut same = pause;
                all = all.max(same.after(Ending::Answered, Duration::ZERO, &random));
            }
            longest.push(all.as_secs());
            pause.after(Ending::Answered, Duration::ZERO, &most);
        }
        assert!(longest.is_sorted() && longest[0] < 2 && longest[11] > 50 && longest[11] < 60, "{longest:?}");
        for took in [0, 1000, 3000, 9000] {
            let took = Duration::from_millis(took);
            for random in [&least, &most] {
                let wait = pause.after(Ending::Network, took, random);
                assert!((took + wait) >= Duration::from_secs(2) && wait <= Duration::from_secs(4));
            }
        }
        assert!(pause.after(Ending::Bye, Duration::ZERO, &most) < Duration::from_secs(3));
    }
}
