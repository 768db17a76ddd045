//! What the lists have in common: where a page begins, how long it may be, and the links to its neighbours.

use tidings_api::jsonapi::PageLinks;

use super::error::Error;
use super::query::Parameters;
use crate::secrets::short_hash;

pub(super) const AFTER: &str = "page[after]";
pub(super) const BEFORE: &str = "page[before]";
/// The most items of a page, where nothing is asked for, and where as many as possible are.
const USUAL: i64 = 100;
const MOST: i64 = 1000;

/// How many items a page may have.
///
/// # Errors
/// 400 when it is none of the possible numbers.
pub(super) fn size(parameters: &mut Parameters) -> Result<i64, Error> {
    Ok(parameters.number("page[size]", 1, MOST)?.unwrap_or(USUAL))
}

/// The cursor, with the name of its parameter.
///
/// # Errors
/// 400 when there are two.
pub(super) fn cursor(parameters: &mut Parameters) -> Result<Option<(&'static str, String)>, Error> {
    match (parameters.take(AFTER), parameters.take(BEFORE)) {
        (Some(_), Some(_)) => {
            Err(Error::parameter(BEFORE, "page[after] and page[before] exclude each other"))
        }
        (Some(after), None) => Ok(Some((AFTER, after))),
        (None, before) => Ok(before.map(|before| (BEFORE, before))),
    }
}

/// The parameters that every link carries: all but those that say where the page begins.
pub(super) fn carried(parameters: &Parameters) -> Vec<(String, String)> {
    let moving = [AFTER, BEFORE, "page[offset]"];
    parameters.pairs().iter().filter(|(name, _)| !moving.contains(&name.as_str())).cloned().collect()
}

/// A link to a page of the list at this URL; `moved` says where it begins.
pub(super) fn link(url: &str, carried: &[(String, String)], moved: Option<(&str, &str)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(carried).extend_pairs(moved);
    let query = query.finish();
    if query.is_empty() { url.to_owned() } else { format!("{url}?{query}") }
}

/// The link to the page that was asked for. `asked`: the query string as it came.
pub(super) fn this(url: &str, asked: &str) -> String {
    if asked.is_empty() { url.to_owned() } else { format!("{url}?{asked}") }
}

/// One page of a list whose cursors only the server makes. Each is marked with the list to which it belongs, so that in
/// another order or under another filter it is refused instead of leading anywhere.
pub(super) struct Pages {
    size: usize,
    cursor: Option<(&'static str, String)>,
    carried: Vec<(String, String)>,
    mark: String,
}

impl Pages {
    /// Takes what says which page is asked for. Nothing else may have been taken yet. `sort`: the order by default.
    ///
    /// # Errors
    /// 400 with the parameter that can't be used.
    pub(super) fn take(parameters: &mut Parameters, sort: &str) -> Result<Pages, Error> {
        let carried = carried(parameters);
        let mut list: Vec<(&str, &str)> = vec![("sort", sort)];
        for (name, value) in carried.iter().filter(|(name, _)| name != "page[size]") {
            list.retain(|(other, _)| other != name);
            list.push((name, value));
        }
        list.sort_unstable();
        let [a, b, c, d, ..] = short_hash(format!("{list:?}").as_bytes());
        let mark = format!("{:08x}", u32::from_be_bytes([a, b, c, d]));
        let size = usize::try_from(size(parameters)?).unwrap_or_default();
        Ok(Pages { size, cursor: cursor(parameters)?, carried, mark })
    }

    /// Whether the page ends before a cursor: it is read backwards then.
    pub(super) fn is_backwards(&self) -> bool {
        matches!(self.cursor, Some((BEFORE, _)))
    }

    /// How many items to look for: one more than is shown tells whether there is another page.
    pub(super) fn limit(&self) -> usize {
        self.size + 1
    }

    /// Where the page begins.
    ///
    /// # Errors
    /// 400 for a cursor that can't be read, or belongs to another list.
    pub(super) fn place<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let Some((name, cursor)) = &self.cursor else { return Ok(None) };
        let own = cursor.strip_prefix(&self.mark).and_then(|rest| rest.strip_prefix('_'));
        own.and_then(read).map(Some).ok_or_else(|| {
            let detail = "it is no cursor of a list in this order and under this filter; take it from a link";
            Error::parameter(name, detail)
        })
    }

    /// Puts what was found into the order of the list, and links it. `asked`: the query string as it came; `place`: what
    /// [`Pages::place`] reads again.
    pub(super) fn links<T>(
        &self,
        url: &str,
        asked: &str,
        found: &mut Vec<T>,
        place: impl Fn(&T) -> String,
    ) -> PageLinks {
        let more = found.len() > self.size;
        found.truncate(self.size);
        if self.is_backwards() {
            found.reverse();
        }
        let to = |name, item: &T| {
            link(url, &self.carried, Some((name, &format!("{}_{}", self.mark, place(item)))))
        };
        // Whoever reads backwards came from a page behind, and whoever reads behind a cursor from one before.
        let (prev, next) = if self.is_backwards() { (more, true) } else { (self.cursor.is_some(), more) };
        PageLinks {
            this: this(url, asked),
            first: link(url, &self.carried, None),
            prev: found.first().filter(|_| prev).map(|item| to(BEFORE, item)),
            next: found.last().filter(|_| next).map(|item| to(AFTER, item)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of the numbers from 1 to 5, and its links.
    fn page(query: &str) -> Result<(Vec<i64>, PageLinks), Error> {
        let mut parameters = Parameters::parse(query)?;
        let pages = Pages::take(&mut parameters, "id")?;
        let from: Option<i64> = pages.place(|text| text.parse().ok())?;
        let mut all: Vec<i64> = (1..=5).collect();
        if pages.is_backwards() {
            all.reverse();
            all.retain(|number| *number < from.unwrap());
        } else {
            all.retain(|number| from.is_none_or(|from| *number > from));
        }
        all.truncate(pages.limit());
        let links = pages.links("u", query, &mut all, i64::to_string);
        Ok((all, links))
    }

    fn query(link: &Option<String>) -> String {
        link.as_ref().unwrap().split_once('?').unwrap().1.to_owned()
    }

    #[test]
    fn pages_lead_to_their_neighbours_and_back() {
        let (numbers, links) = page("page[size]=2&filter=x").unwrap();
        assert_eq!((numbers, links.prev.as_ref()), (vec![1, 2], None));
        assert_eq!(
            (links.this.as_str(), links.first.as_str()),
            ("u?page[size]=2&filter=x", "u?page%5Bsize%5D=2&filter=x")
        );
        let (numbers, links) = page(&query(&links.next)).unwrap();
        assert_eq!(numbers, [3, 4]);
        let (first, back) = page(&query(&links.prev)).unwrap();
        assert_eq!((first, back.prev.as_ref()), (vec![1, 2], None));
        assert_eq!(page(&query(&back.next)).unwrap().0, [3, 4]);
        let (numbers, links) = page(&query(&links.next)).unwrap();
        assert_eq!((numbers, links.next), (vec![5], None));
        assert_eq!(page(&query(&links.prev)).unwrap().0, [3, 4]);
        let (all, links) = page("").unwrap();
        assert_eq!(
            (all.len(), links),
            (5, PageLinks { this: "u".into(), first: "u".into(), prev: None, next: None })
        );
    }

    #[test]
    fn a_cursor_belongs_to_its_order_and_its_filter() {
        let (_, links) = page("sort=id&filter=x&page[size]=2").unwrap();
        let next = query(&links.next);
        // The same list, said otherwise: another size, another sequence of parameters, the order by default.
        for same in [
            next.replace("=2", "=3"),
            next.replace("sort=id&", ""),
            format!("{}&sort=id", next.replace("sort=id&", "")),
        ] {
            assert_eq!(page(&same).unwrap().0[0], 3, "{same}");
        }
        let backwards = next.replace("after", "before");
        assert_eq!(page(&backwards).unwrap().0, [1]);
        let bare = next.rsplit_once('_').unwrap().1;
        for other in [
            next.replace("sort=id", "sort=-id"),
            next.replace("filter=x", "filter=y"),
            next.replace("filter=x&", ""),
            format!("{next}&more=1"),
            format!("page[after]={bare}"),
        ] {
            let error = page(&other).unwrap_err();
            let source = tidings_api::error::ErrorSource::Parameter(AFTER.to_owned());
            assert_eq!(error.object().source, Some(source), "{other}");
        }
        assert!(page(&format!("{next}&page[before]=1")).is_err());
        assert!(page("page[size]=0").is_err() && page("page[size]=1001").is_err());
    }
}
