//! Query parameters: each at most once, and none that is not known.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use tidings_api::error::ErrorCode;

use super::error::Error;

/// The parameters of a request. What is not taken until [`Parameters::finish`] is not known here.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query string.
    ///
    /// # Errors
    /// 400 when a parameter is repeated or can't be stored text.
    pub(super) fn parse(query: &str) -> Result<Self, Error> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(Error::parameter(&name, "the parameter stands twice; use a comma list instead"));
            }
            if value.contains('\0') {
                return Err(Error::parameter(&name, "the character U+0000 is in no stored text"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Parameters(pairs))
    }

    /// All that are left, with their values.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Whether one with this name is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// The value of a parameter.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(index).1)
    }

    /// A decimal number within bounds.
    ///
    /// # Errors
    /// 400 for anything else.
    pub(super) fn number(&mut self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Error> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let number = Some(&text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|text| text.parse().ok()).filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::parameter(name, format!("a number from {least} to {most} is expected"))),
        }
    }

    /// The parts of a comma list.
    ///
    /// # Errors
    /// 400 for empty parts and lists without measure.
    pub(super) fn list(&mut self, name: &str) -> Result<Option<Vec<String>>, Error> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        if parts.iter().any(String::is_empty) {
            return Err(Error::parameter(name, "a comma list without empty parts is expected"));
        }
        if parts.len() > 1000 {
            return Err(Error::parameter(name, "at most 1,000 values are expected"));
        }
        Ok(Some(parts))
    }

    /// Refuses what nobody took.
    ///
    /// # Errors
    /// 400 with the first parameter that is not known.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let detail = format!("{name} is not known here");
                Err(Error::new(ErrorCode::UnknownParameter, detail).of_parameter(name))
            }
        }
    }
}

/// Names and values that came otherwise than in a query.
impl From<std::collections::BTreeMap<String, String>> for Parameters {
    fn from(pairs: std::collections::BTreeMap<String, String>) -> Self {
        Parameters(pairs.into_iter().collect())
    }
}

/// For calls without query parameters: refuses them.
pub(super) struct NoParameters;

impl FromRequest for NoParameters {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match request.query_string() {
            "" => Ok(NoParameters),
            query => Parameters::parse(query).and_then(Parameters::finish).map(|()| NoParameters),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_once_and_are_known() {
        let mut parameters = Parameters::parse("a=1&b%5Bc%5D=x,%20y&&d").unwrap();
        assert_eq!(parameters.number("a", 1, 5).unwrap(), Some(1));
        assert_eq!(parameters.list("b[c]").unwrap(), Some(vec!["x".to_owned(), "y".to_owned()]));
        assert_eq!(parameters.take("e"), None);
        let unknown = parameters.finish().unwrap_err();
        assert_eq!(unknown.object().code, ErrorCode::UnknownParameter);
        assert_eq!(unknown.object().source, Some(tidings_api::error::ErrorSource::Parameter("d".into())));
        for bad in ["a=1&a=2", "a=%00", "b[c]=1&b%5Bc%5D=1"] {
            assert_eq!(
                Parameters::parse(bad).unwrap_err().object().code,
                ErrorCode::InvalidParameter,
                "{bad}"
            );
        }
        for bad in ["n=0", "n=6", "n=", "n=-1", "n=%2B1", "n=1.0", "n=99999999999999999999"] {
            assert!(Parameters::parse(bad).unwrap().number("n", 1, 5).is_err(), "{bad}");
        }
        for bad in ["l=", "l=a,", "l=,"] {
            assert!(Parameters::parse(bad).unwrap().list("l").is_err(), "{bad}");
        }
    }
}
