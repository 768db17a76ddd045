//! Mail by SMTP, through the operator's own mail server.
//!
//! lettre speaks it: SMTP, its ways to log in and the encoding of mails are three protocols with decades of exceptions,
//! and lettre is the crate that has them right, on the same tokio and rustls as the rest and without OpenSSL.

use std::net::IpAddr;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport as _, Tokio1Executor};
use percent_encoding::percent_decode_str;
use tidings_api::alert::AlertAttributes;
use url::Url;

use super::text;

/// How long a mail may take in all.
const DEADLINE: Duration = Duration::from_secs(15);

/// Why mail can't be sent as it is configured. Says nothing of the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The URL of the mail server can't be used.
    #[error(
        "--smtp-url can't be used: {0}; expected is smtp://user:password@host:587 (with STARTTLS, unless it ends in \
         ?tls=none) or smtps://user:password@host:465"
    )]
    Url(&'static str),
    /// There is no sender.
    #[error("--smtp-url needs --alert-from, the address that alerts are sent from")]
    NoSender,
    /// The sender's address can't be used.
    #[error("--alert-from can't be used: an address such as tidings@example.com is expected")]
    Sender,
}

/// Sends mail.
#[derive(Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    shown: String,
}

impl Mailer {
    /// For the mail server at this URL and this sender.
    ///
    /// # Errors
    /// When they can't be used.
    pub fn new(url: &str, from: &str) -> Result<Self, MailError> {
        let mut url = Url::parse(url.trim()).map_err(|_| MailError::Url("it is no URL"))?;
        let from: Mailbox = from.parse().map_err(|_| MailError::Sender)?;
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(MailError::Url("it has no host"));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_loopback =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let tls =
            || TlsParameters::new(host.clone()).map_err(|_| MailError::Url("its host can't be used for TLS"));
        let (port, tls) = match (url.scheme(), url.query()) {
            ("smtps", None) => (465, Tls::Wrapper(tls()?)),
            // What doesn't leave the machine needs no TLS, and no certificate is made out to it.
            ("smtp", None) if is_loopback => (587, Tls::None),
            ("smtp", None) => (587, Tls::Required(tls()?)),
            ("smtp", Some("tls=none")) => (587, Tls::None),
            ("smtp" | "smtps", _) => return Err(MailError::Url("its query can't be used")),
            _ => return Err(MailError::Url("its scheme is neither smtp nor smtps")),
        };
        let decode = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            decoded.map(String::from).map_err(|_| MailError::Url("its user or password is not UTF-8"))
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(url.port().unwrap_or(port))
            .tls(tls)
            .timeout(Some(DEADLINE))
            .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        if !url.username().is_empty() {
            let password = url.password().unwrap_or_default();
            builder = builder.credentials(Credentials::new(decode(url.username())?, decode(password)?));
        }
        if url.password().is_some() {
            let _ = url.set_password(Some("***"));
        }
        Ok(Mailer { transport: builder.build(), from, shown: url.into() })
    }

    /// The mail server's URL without the password.
    pub fn url(&self) -> &str {
        &self.shown
    }

    /// The sender.
    pub fn from(&self) -> String {
        self.from.to_string()
    }

    /// Sends an alert. The error is for the tenant's admin: it tells nothing of the mail server but its status.
    pub(super) async fn send(&self, to: &str, id: &str, alert: &AlertAttributes) -> Result<(), String> {
        let to = to.parse().map_err(|_| "the address can't be used".to_owned())?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(text::subject(alert))
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            // Nobody's absence note shall answer (RFC 3834).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .header(ContentType::TEXT_PLAIN)
            .body(text::body(alert))
            .map_err(|_| "the mail can't be written".to_owned())?;
        match tokio::time::timeout(DEADLINE, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(describe(&error)),
            Err(_) => Err("the mail server took too long".to_owned()),
        }
    }
}

fn describe(error: &Error) -> String {
    // The operator's log has it all; what the mail server says is not for a tenant.
    tracing::debug!(error = error as &dyn std::error::Error, "a mail was not sent");
    if let Some(code) = error.status() {
        format!("the mail server refused the mail with {code}")
    } else if error.is_timeout() {
        "the mail server took too long".to_owned()
    } else if error.is_tls() {
        "TLS with the mail server failed".to_owned()
    } else {
        "the mail server could not be reached, or did not answer as one".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> Result<String, MailError> {
        Mailer::new(url, "Tidings <tidings@example.com>").map(|mailer| mailer.url().to_owned())
    }

    #[test]
    fn the_password_is_never_shown() {
        let url = shown("smtps://user:s3cret%40@mail.example.com").unwrap();
        assert_eq!(url, "smtps://user:***@mail.example.com");
        for bad in ["smtp://user:s3cret@host:99999", "http://user:s3cret@host", "smtp://u:s3cret@host?tls=no"]
        {
            let error = shown(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn only_urls_of_mail_servers_are_taken() {
        for good in [
            "smtp://mail.example.com",
            "smtp://127.0.0.1:2525",
            "smtp://[::1]:25",
            "smtp://relay:25?tls=none",
        ] {
            assert!(shown(good).is_ok(), "{good}: {:?}", shown(good));
        }
        for bad in ["mail.example.com:25", "smtp://", "http://mail.example.com", "smtps://host?tls=none", ""]
        {
            assert!(matches!(shown(bad), Err(MailError::Url(_))), "{bad}: {:?}", shown(bad));
        }
        assert_eq!(Mailer::new("smtp://h", "nobody").err(), Some(MailError::Sender));
    }
}
