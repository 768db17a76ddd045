//! Which events a tenant wants stored and pushed.

use tidings_api::event::NotStoredReason;
use tidings_api::event_type::EventType;

use super::settings::Settings;

/// Whether an event of this type is stored; if not, why.
///
/// # Errors
/// The setting that excludes it.
pub fn select(settings: &Settings, event_type: &EventType) -> Result<(), NotStoredReason> {
    if !settings.enabled {
        Err(NotStoredReason::Disabled)
    } else if settings.types.iter().any(|selector| selector.selects(event_type)) {
        Ok(())
    } else {
        Err(NotStoredReason::TypeNotSelected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::settings::resolve;

    #[test]
    fn the_setting_that_excludes_an_event_is_named() {
        let settings = |json: &str| {
            resolve(&serde_json::from_str(json).unwrap(), |_| Err("there is no secret")).unwrap()
        };
        let close = "close".parse().unwrap();
        assert_eq!(select(&settings("{}"), &close), Ok(()));
        assert_eq!(select(&settings(r#"{"enabled":false}"#), &close), Err(NotStoredReason::Disabled));
        let signing = settings(r#"{"selection":{"types":["allSigningEvents","my.type"]}}"#);
        assert_eq!(select(&signing, &close), Ok(()));
        assert_eq!(select(&signing, &"my.type".parse().unwrap()), Ok(()));
        assert_eq!(select(&signing, &"print".parse().unwrap()), Err(NotStoredReason::TypeNotSelected));
        let nothing = settings(r#"{"selection":{"types":[]}}"#);
        assert_eq!(select(&nothing, &close), Err(NotStoredReason::TypeNotSelected));
    }
}
