//! What a query asks of an attribute, and whether a value is that (PS3.4 section C.2.2.2).

use super::ValueKind;
use super::fold::{fold, fold_name};

/// What a key of a query asks for (PS3.4 section C.2.2.2).
///
/// Case and accents count for nothing in names, text and codes. An ID without wild cards is compared as
/// it stands but for blanks around it, an ID with wild cards without regard to case and accents. All else is compared as
/// it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Match {
    /// Everything, also what is absent (section C.2.2.2.3).
    Any,
    /// One value (section C.2.2.2.1), in the form in which [`search_key`] puts values; an ID as it stands.
    One(String),
    /// Any of several values: UIDs (section C.2.2.2.2), and what else can have several. Ascending, each as in
    /// [`Match::One`].
    List(Vec<String>),
    /// By wild cards (section C.2.2.2.4).
    Pattern(Pattern),
    /// What lies between two dates or times, both included (section C.2.2.2.5): `YYYYMMDD`, or `HHMMSS.FFFFFF`. At least
    /// one of them is there.
    Range {
        /// The earliest.
        from: Option<String>,
        /// The latest.
        to: Option<String>,
    },
    /// Each of these fits a word of the name, or the name, from its beginning on, in any order (fuzzy matching, section
    /// C.2.2.2.1.1; PS3.18 section 8.3.4.2).
    Words(Vec<Pattern>),
}

/// Folded text with wild cards: `*` for any characters and none, `?` for one character. Others stand for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// What cannot be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatchError {
    /// Neither a date nor a range of dates.
    #[error("not a date or a range of dates (20240131, 20240101-20240131)")]
    Date,
    /// Neither a time nor a range of times.
    #[error("not a time or a range of times (1030, 08-1030)")]
    Time,
    /// Not a whole number.
    #[error("not a whole number")]
    Number,
    /// Wild cards where values of this kind have none (section C.2.2.2.4), or within a list.
    #[error("wild cards have no meaning here")]
    Wildcard,
}

impl Match {
    /// What `text` asks of an attribute of this kind. Nothing, and a `*` alone, ask for everything.
    ///
    /// Several values are separated by `\`, UIDs and code strings also by `,`.
    ///
    /// # Errors
    /// [`MatchError`] when no value of this kind can be asked for so.
    pub fn parse(kind: ValueKind, text: &str) -> Result<Self, MatchError> {
        let text = text.trim_matches(is_padding);
        if text.chars().all(|c| matches!(c, '*' | '＊' | '\\') || is_padding(c)) {
            return Ok(Self::Any);
        }
        match kind {
            ValueKind::Date => Self::range(text, date, date).ok_or(MatchError::Date),
            ValueKind::Time => Self::range(text, earliest, latest).ok_or(MatchError::Time),
            _ => Self::values(kind, text),
        }
    }

    /// What `text` asks of a name when each of its words may begin any word of the name (fuzzy matching). Wild cards
    /// within a word keep their meaning.
    #[must_use]
    pub fn words(text: &str) -> Self {
        let all = fold_name(text);
        let words: Vec<_> =
            words_of(&all).filter(|word| !word.chars().all(|c| c == '*')).map(Pattern::prefix_of).collect();
        if words.is_empty() { Self::Any } else { Self::Words(words) }
    }

    /// Whether any of the values in `value`, which are separated by `\`, is what is asked for. `kind` is the one that
    /// this was made for.
    #[must_use]
    pub fn matches(&self, kind: ValueKind, value: &str) -> bool {
        matches!(self, Self::Any)
            || value
                .split('\\')
                .map(|one| one.trim_matches(is_padding))
                .any(|one| !one.is_empty() && self.fits(kind, one))
    }

    fn fits(&self, kind: ValueKind, value: &str) -> bool {
        match (self, kind) {
            (Self::Any, _) => true,
            // As they stand: these have no other form.
            (Self::One(wanted), ValueKind::Id | ValueKind::CodeString | ValueKind::Uid | ValueKind::Age) => {
                wanted == value
            }
            (Self::List(all), ValueKind::Id | ValueKind::CodeString | ValueKind::Uid | ValueKind::Age) => {
                all.binary_search_by(|wanted| wanted.as_str().cmp(value)).is_ok()
            }
            (Self::One(wanted), _) => is_one(kind, wanted, &search_key(kind, value)),
            (Self::List(all), _) => {
                let value = search_key(kind, value);
                all.iter().any(|wanted| is_one(kind, wanted, &value))
            }
            (Self::Pattern(pattern), _) => {
                let short = without_open_end(&pattern.0);
                let short = (kind == ValueKind::Name && short.len() < pattern.0.len()).then_some(short);
                let value = search_key(kind, value);
                parts(kind, &value).any(|part| pattern.fits(part) || short.is_some_and(|short| is_like(short, part)))
            }
            (Self::Range { from, to }, _) => {
                let value = search_key(kind, value);
                let is_within =
                    from.as_ref().is_none_or(|from| *from <= value) && to.as_ref().is_none_or(|to| value <= *to);
                is_within && !value.is_empty()
            }
            (Self::Words(words), _) => {
                let value = search_key(kind, value);
                words.iter().all(|word| words_of(&value).chain(parts(kind, &value)).any(|part| word.fits(part)))
            }
        }
    }

    /// Texts that all stand in the [`search_key`] of any value that this fits, for an index to look for first; none where that
    /// would not narrow the search.
    #[must_use]
    pub fn literals(&self, kind: ValueKind) -> Vec<String> {
        let of = |pattern: &Pattern| {
            let text = if kind == ValueKind::Name { without_open_end(&pattern.0) } else { &pattern.0 };
            text.split(is_wild).filter(|run| !run.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        match self {
            Self::One(wanted) if kind == ValueKind::Name => split_filled(wanted, '=').map(str::to_owned).collect(),
            Self::One(wanted) if kind == ValueKind::Code => split_filled(wanted, '^').map(str::to_owned).collect(),
            Self::One(wanted) => vec![search_key(kind, wanted)],
            Self::Pattern(pattern) => of(pattern),
            Self::Words(words) => words.iter().flat_map(of).collect(),
            Self::Any | Self::List(_) | Self::Range { .. } => Vec::new(),
        }
    }

    /// What the [`search_key`] of any value that this fits begins with; of a name, one of its groups. Empty where that is not
    /// known.
    #[must_use]
    pub fn prefix(&self, kind: ValueKind) -> String {
        match self {
            Self::One(wanted) if kind == ValueKind::Name => split_filled(wanted, '=').next().unwrap_or("").to_owned(),
            Self::One(_) | Self::Pattern(_) if kind == ValueKind::Code => String::new(),
            Self::One(wanted) => search_key(kind, wanted),
            Self::Pattern(pattern) => {
                let text = if kind == ValueKind::Name { without_open_end(&pattern.0) } else { &pattern.0 };
                let of_group = |c| is_wild(c) || c == '=' && kind == ValueKind::Name;
                text.split(of_group).next().unwrap_or("").to_owned()
            }
            Self::Any | Self::List(_) | Self::Range { .. } | Self::Words(_) => String::new(),
        }
    }

    fn values(kind: ValueKind, text: &str) -> Result<Self, MatchError> {
        let separates = |c| c == '\\' || c == ',' && matches!(kind, ValueKind::Uid | ValueKind::CodeString);
        let all = text.split(separates).map(|one| one.trim_matches(is_padding)).filter(|one| !one.is_empty());
        let mut all = all.map(|one| wanted(kind, one)).collect::<Result<Vec<_>, _>>()?;
        if all.iter().any(|one| one.contains(is_wild)) {
            return match (kind, all.as_slice()) {
                (ValueKind::Uid | ValueKind::Age, _) => Err(MatchError::Wildcard),
                (_, [one]) => Ok(Self::Pattern(Pattern::new(&search_key(kind, one)))),
                _ => Err(MatchError::Wildcard),
            };
        }
        all.sort_unstable();
        all.dedup();
        Ok(match all.len() {
            0 => Self::Any,
            1 => Self::One(all.remove(0)),
            _ => Self::List(all),
        })
    }

    fn range(text: &str, first: fn(&str) -> Option<String>, last: fn(&str) -> Option<String>) -> Option<Self> {
        let Some((from, to)) = text.split_once('-') else {
            return Some(match (first(text)?, last(text)?) {
                (from, to) if from == to => Self::One(from),
                (from, to) => Self::Range { from: Some(from), to: Some(to) },
            });
        };
        let (from, to) = (from.trim(), to.trim());
        match (from.is_empty(), to.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Self::Range { from: None, to: Some(last(to)?) }),
            (false, true) => Some(Self::Range { from: Some(first(from)?), to: None }),
            (false, false) => Some(Self::Range { from: Some(first(from)?), to: Some(last(to)?) }),
        }
    }
}

impl Pattern {
    /// Of folded text: `*` and `?` are wild cards.
    fn new(folded: &str) -> Self {
        let mut text = String::with_capacity(folded.len());
        for c in folded.chars() {
            if c != '*' || !text.ends_with('*') {
                text.push(c);
            }
        }
        Self(text)
    }

    fn prefix_of(word: &str) -> Self {
        Self::new(&format!("{word}*"))
    }

    /// The text, with its wild cards.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of a folded text is of this pattern. Takes at most as many steps as both are long, multiplied.
    #[must_use]
    pub fn fits(&self, folded: &str) -> bool {
        is_like(&self.0, folded)
    }
}

/// The two-pointer comparison with wild cards.
fn is_like(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Behind the last star, and where in the text it was met: only that one needs to be tried further.
    let mut retry = None;
    loop {
        let before = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = before;
                retry = Some((pattern.clone(), text.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            (Some(_), None) => return false,
            (_, Some(_)) => {
                let Some((behind_star, from)) = &mut retry else { return false };
                from.next();
                (pattern, text) = (behind_star.clone(), from.clone());
            }
        }
    }
}

/// Without components at the end for which anything will do, also none: `doe^*` is asked of `doe` too.
fn without_open_end(pattern: &str) -> &str {
    let mut rest = pattern;
    while let Some(shorter) = rest.strip_suffix("^*") {
        rest = shorter;
    }
    rest
}

/// One value in the form in which an index keeps it to be searched: folded (names, text, IDs, codes), dates as
/// `YYYYMMDD`, times as `HHMMSS.FFFFFF` (the earliest that they can be), numbers without signs and zeros before them,
/// all else as it stands. Empty for what is no value of its kind.
#[must_use]
pub fn search_key(kind: ValueKind, value: &str) -> String {
    let value = value.trim_matches(is_padding);
    match kind {
        ValueKind::Name => fold_name(value),
        ValueKind::Text | ValueKind::Id | ValueKind::Code => fold(value),
        ValueKind::Date => date(value).unwrap_or_default(),
        ValueKind::Time => earliest(value).unwrap_or_default(),
        ValueKind::Integer | ValueKind::Unsigned => number(value).unwrap_or_default(),
        ValueKind::Age | ValueKind::CodeString | ValueKind::Uid => value.to_owned(),
    }
}

/// One value of a query, in the form in which values are compared with it.
fn wanted(kind: ValueKind, text: &str) -> Result<String, MatchError> {
    match kind {
        ValueKind::Id => Ok(text.to_owned()),
        ValueKind::Integer | ValueKind::Unsigned if text.contains(is_wild) => Err(MatchError::Wildcard),
        ValueKind::Integer | ValueKind::Unsigned => number(text).ok_or(MatchError::Number),
        _ => Ok(search_key(kind, text)),
    }
}

/// Whether a value, in the form of [`search_key`], is the one that is wanted.
fn is_one(kind: ValueKind, wanted: &str, value: &str) -> bool {
    match kind {
        // By one group, whichever it is; by several, each at its place.
        ValueKind::Name if !wanted.contains('=') => parts(kind, value).any(|part| part == wanted),
        ValueKind::Name => every_given(wanted, value, '='),
        ValueKind::Code => every_given(wanted, value, '^'),
        _ => wanted == value,
    }
}

/// Whether all parts of `wanted` that are not empty stand in `value` at their places.
fn every_given(wanted: &str, value: &str, separator: char) -> bool {
    let mut found = value.split(separator);
    wanted
        .split(separator)
        .all(|part| found.next().is_some_and(|found| part.is_empty() || part == found) || part.is_empty())
}

/// A value, and for a name each of its groups, for a code each of its parts.
fn parts(kind: ValueKind, value: &str) -> impl Iterator<Item = &str> {
    let separator = match kind {
        ValueKind::Name => Some('='),
        ValueKind::Code => Some('^'),
        _ => None,
    };
    let several = separator.filter(|separator| value.contains(*separator));
    std::iter::once(value).chain(several.into_iter().flat_map(move |separator| split_filled(value, separator)))
}

fn split_filled(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).filter(|part| !part.is_empty())
}

/// The words of a folded name.
fn words_of(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| c.is_whitespace() || matches!(c, '^' | '=' | ',' | ';' | '-' | '.'))
        .filter(|word| !word.is_empty())
}

fn is_wild(c: char) -> bool {
    matches!(c, '*' | '?')
}

fn is_padding(c: char) -> bool {
    c == '\0' || c.is_whitespace()
}

/// A whole number without what it can be written without.
fn number(text: &str) -> Option<String> {
    text.parse::<i64>().ok().map(|number| number.to_string())
}

/// A date (VR DA, PS3.5 section 6.2) as `YYYYMMDD`; also one of the older form `YYYY.MM.DD`.
pub(super) fn date(text: &str) -> Option<String> {
    let digits = match text.as_bytes() {
        [.., b'.', _, _, b'.', _, _] if text.len() == 10 => text.replace('.', ""),
        _ => text.to_owned(),
    };
    let is_date = digits.len() == 8
        && digits.bytes().all(|b| b.is_ascii_digit())
        && digits.get(4..6).is_some_and(|month| ("01"..="12").contains(&month))
        && digits.get(6..).is_some_and(|day| ("01"..="31").contains(&day));
    is_date.then_some(digits)
}

/// The first moment of a time (VR TM, PS3.5 section 6.2): `10` is 10:00:00.
fn earliest(text: &str) -> Option<String> {
    moment(text, "000000.000000")
}

/// The last moment of a time: `10` is 10:59:59.999999.
fn latest(text: &str) -> Option<String> {
    moment(text, "235959.999999")
}

/// A time with what it lacks from `rest`.
fn moment(text: &str, rest: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let whole = match whole.as_bytes() {
        // The older form, `HH:MM:SS`.
        [_, _, b':', _, _] | [_, _, b':', _, _, b':', _, _] => whole.replace(':', ""),
        _ => whole.to_owned(),
    };
    let fraction = fraction.unwrap_or("");
    let digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    let in_order =
        digits && matches!(whole.len(), 2 | 4 | 6) && fraction.len() <= 6 && (whole.len() == 6 || fraction.is_empty());
    let below = |range, end: &str| whole.get(range).is_none_or(|part: &str| part < end);
    // Seconds may be 60.
    if !in_order || !below(0..2, "24") || !below(2..4, "60") || !below(4..6, "61") {
        return None;
    }
    let mut moment = whole;
    if moment.len() == 6 {
        moment.push('.');
        moment.push_str(fraction);
    }
    moment.push_str(rest.get(moment.len()..)?);
    Some(moment)
}

#[cfg(test)]
mod tests;
