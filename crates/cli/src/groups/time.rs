//! Points in time and spans as people and Kafka's tools write them.
//!
//! `2026-01-31T08:30:00.000Z`, `2026-01-31T08:30:00+02:00`, `2026-01-31`, or milliseconds since 1970; spans as `90s`,
//! `15m`, `2h`, `7d`, or `P1DT2H30M5S`. Without a zone a time is UTC's.

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970.
pub fn timestamp(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return (number >= 0).then_some(number);
    }
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00"));
    let [year, month, day] = numbers(date, '-')?;
    let is_date = (1970..=9999).contains(&year) && (1..=12).contains(&month);
    if !is_date || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let (time, zone_ms) = zone(time)?;
    Some(days_since_1970(year, month, day) * DAY_MS + time_of_day(time)? - zone_ms)
}

/// As UTC, to the millisecond; what no calendar here has as the number it is.
pub fn text(timestamp: i64) -> String {
    let (days, of_day) = (timestamp.div_euclid(DAY_MS), timestamp.rem_euclid(DAY_MS));
    // Years of 366 days are a few too few, never too many.
    let mut year = 1970 + days / 366;
    if timestamp < 0 || year > 9999 {
        return timestamp.to_string();
    }
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_since_1970(year, month + 1, 1) <= days {
        month += 1;
    }
    let day = days - days_since_1970(year, month, 1) + 1;
    let (hours, minutes, seconds) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    format!("{year}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", of_day % 1_000)
}

/// A span in milliseconds.
pub fn duration(text: &str) -> Option<i64> {
    match text.strip_prefix('P') {
        Some(iso) => iso_duration(iso),
        None => {
            let unit = text.char_indices().next_back()?;
            let scale = scale(unit.1.to_ascii_uppercase(), true)?;
            text[..unit.0].parse::<i64>().ok().filter(|number| *number >= 0)?.checked_mul(scale)
        }
    }
}

fn scale(unit: char, is_time: bool) -> Option<i64> {
    match (unit, is_time) {
        ('D', _) => Some(DAY_MS),
        ('H', true) => Some(3_600_000),
        ('M', true) => Some(60_000),
        ('S', true) => Some(1_000),
        _ => None,
    }
}

/// What follows the `P`: `1DT2H30M5.5S`.
fn iso_duration(text: &str) -> Option<i64> {
    let (mut total, mut number, mut is_time, mut units) = (0_i64, String::new(), false, 0);
    for letter in text.chars() {
        match letter {
            'T' if !is_time && number.is_empty() => is_time = true,
            '0'..='9' | '.' => number.push(letter),
            unit => {
                let scale = scale(unit.to_ascii_uppercase(), is_time)?;
                let ms = if unit.eq_ignore_ascii_case(&'S') {
                    seconds(&number)?
                } else {
                    number.parse::<i64>().ok()?.checked_mul(scale)?
                };
                total = total.checked_add(ms)?;
                number.clear();
                units += 1;
            }
        }
    }
    (number.is_empty() && units > 0).then_some(total)
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<i64> = text
        .split(separator)
        .map(|part| part.parse().ok().filter(|_| is_number(part)))
        .collect::<Option<Vec<_>>>()?;
    parts.try_into().ok()
}

/// Cuts the zone off a time; it is given back in milliseconds east of Greenwich.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0)) };
    let (time, zone) = text.split_at(at);
    let (sign, digits) = (if zone.starts_with('-') { -1 } else { 1 }, &zone[1..]);
    let [hours, minutes] = match digits.contains(':') {
        true => numbers(digits, ':')?,
        false if digits.len() == 2 => [digits.parse().ok()?, 0],
        false if digits.len() == 4 => [digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse().ok()?],
        false => return None,
    };
    (hours <= 18 && minutes < 60).then_some((time, sign * (hours * 60 + minutes) * 60_000))
}

fn time_of_day(text: &str) -> Option<i64> {
    let (clock, rest) = match text.split(':').count() {
        3 => text.rsplit_once(':').map(|(clock, seconds)| (clock, Some(seconds)))?,
        _ => (text, None),
    };
    let [hours, minutes] = numbers(clock, ':')?;
    let seconds = rest.map_or(Some(0), seconds)?;
    (hours < 24 && minutes < 60 && seconds < 60_000).then_some((hours * 60 + minutes) * 60_000 + seconds)
}

/// `5` or `5.25` seconds in milliseconds.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let [whole] = numbers(whole, ':')?;
    let [_] = numbers::<1>(fraction, ':')?;
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.checked_mul(1_000)?.checked_add(digits.parse().ok()?)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::{DAY_MS, duration, text, timestamp};

    #[test]
    fn a_time_is_written_as_it_is_read() {
        for day in (0..200_000).chain([2_932_896]) {
            let time = day * DAY_MS + 86_399_999 - day;
            assert_eq!(timestamp(&text(time)), Some(time), "{}", text(time));
        }
        assert_eq!(text(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!((text(-5), text(i64::MAX)), ("-5".to_owned(), i64::MAX.to_string()));
    }

    #[test]
    fn a_time_is_read_with_and_without_a_zone() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(timestamp(text), expected, "{text}");
        check("1970-01-01T00:00:00.000", Some(0));
        check("1970-01-01", Some(0));
        check("1700000000123", Some(1_700_000_000_123));
        check("2023-11-14T22:13:20.123", Some(1_700_000_000_123));
        check("2023-11-14T22:13:20.123Z", Some(1_700_000_000_123));
        check("2023-11-15T00:13:20.123+02:00", Some(1_700_000_000_123));
        check("2023-11-14T20:13:20.123-0200", Some(1_700_000_000_123));
        check("2024-02-29T00:00", Some(1_709_164_800_000));
        for wrong in ["", "x", "-5", "2023-02-29", "2023-13-01", "2023-01-01T25:00", "2023-01-01T10:00+99:00"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn a_span_is_read_as_people_and_as_kafkas_tool_write_it() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(duration(text), expected, "{text}");
        check("90s", Some(90_000));
        check("2h", Some(7_200_000));
        check("7d", Some(604_800_000));
        check("P1D", Some(86_400_000));
        check("PT1H", Some(3_600_000));
        check("P1DT2H30M5.5S", Some(86_400_000 + 9_000_000 + 5_500));
        for wrong in ["", "5", "h", "-5s", "P", "PT", "P1H", "P5", "99999999999999999d", "5é"] {
            check(wrong, None);
        }
    }
}
