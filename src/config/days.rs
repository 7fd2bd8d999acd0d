//! `Mon-Fri`, `Sa,So`: days of the week as people write them.
//! Absent on purpose: holidays; no file knows them.

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const TAGE: [&str; 7] = ["Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"];

/// Which days are meant, Monday first.
///
/// # Errors
/// The word that is no day, and those that are.
pub fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let day = |name: &str| {
        let at = |days: &[&str; 7]| days.iter().position(|d| d.eq_ignore_ascii_case(name));
        at(&DAYS).or_else(|| at(&TAGE)).ok_or_else(|| {
            let (name, days, tage) = (name.escape_debug(), DAYS.join(", "), TAGE.join(", "));
            format!("\"{name}\" is no day of the week: {days}, or {tage}")
        })
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let mut at = first;
        loop {
            if let Some(on) = days.get_mut(at) {
                *on = true;
            }
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Ok(days)
}
