//! Where pushes may go.
//!
//! A tenant chooses the URL, so a push could be aimed at the server's own network: its database, its neighbours, the
//! credentials that a cloud hands out at 169.254.169.254. Two checks stand against that. [`PushUrl`] refuses what is no
//! plain web address and keeps the canonical form, in which `http://0x7f.1/` reads `http://127.0.0.1/`;
//! [`Egress::check_literal`] tells an admin early. The check that counts is [`Egress::permits`], asked for each address
//! at the moment it is dialled: a name may resolve to anything, and to something else a second later.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// The longest push URL, in characters of its canonical form.
pub const MAX_URL_LENGTH: usize = 2_048;

/// What no push may reach unless the operator allows it.
const DENIED_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),        // "this network"; Linux takes it for loopback
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // shared by carriers and clouds
    v4([127, 0, 0, 0], 8),      // loopback
    v4([169, 254, 0, 0], 16),   // link-local, the metadata services of clouds among them
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 88, 99, 0], 24),   // 6to4 relays
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarking
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved, broadcast among it
    v4([168, 63, 129, 16], 32), // the platform services of one cloud, on an address that looks public
];

/// All that the Internet routes in version 6. Outside lie loopback, private (`fc00::/7`), link-local, site-local and
/// multicast addresses, the discard prefix, segment routing (`5f00::/16`), local NAT64 and whatever comes next.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// What inside it isn't a receiver.
const DENIED_V6: [Ipv6Net; 3] = [
    v6([0x2001, 0, 0], 23), // protocol assignments: Teredo, ORCHID, benchmarking, anycast services
    v6([0x2001, 0xdb8, 0], 32), // documentation
    v6([0x3fff, 0, 0], 20), // documentation
];

/// Addresses that stand for one of version 4: a gateway or tunnel takes the packet there.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0], 96);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0], 16);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c]: [u16; 3], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// Which addresses pushes may reach: the public ones, and those that the operator allowed.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    allowed: Vec<IpNet>,
}

impl Egress {
    /// The default rules, with networks that are allowed in spite of them.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether a push may be sent to this address. `loopback_too` adds this machine itself.
    pub fn permits(&self, ip: IpAddr, loopback_too: bool) -> bool {
        let ip = ip.to_canonical();
        if self.allowed.iter().any(|net| net.contains(&ip)) || loopback_too && ip.is_loopback() {
            return true;
        }
        match ip {
            IpAddr::V4(ip) => !DENIED_V4.iter().any(|net| net.contains(&ip)),
            IpAddr::V6(ip) => match embedded_v4(ip) {
                Some(ip) => self.permits(ip.into(), false),
                None => GLOBAL_V6.contains(&ip) && !DENIED_V6.iter().any(|net| net.contains(&ip)),
            },
        }
    }

    /// Refuses a URL that shows by itself that it leads where pushes may not go: by an address, or by a name that
    /// always means this machine. Other names are checked when they are dialled.
    pub fn check_literal(&self, url: &PushUrl, loopback_too: bool) -> Result<(), Blocked> {
        let permitted = match &url.host {
            Host::Ipv4(ip) => self.permits((*ip).into(), loopback_too),
            Host::Ipv6(ip) => self.permits((*ip).into(), loopback_too),
            Host::Domain(name) if is_loopback_name(name) => {
                self.permits(Ipv4Addr::LOCALHOST.into(), loopback_too)
                    || self.permits(Ipv6Addr::LOCALHOST.into(), loopback_too)
            }
            Host::Domain(_) => true,
        };
        if permitted { Ok(()) } else { Err(Blocked { host: url.host.to_string() }) }
    }
}

fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [_, _, a, b, c, d, .., w, x, y, z] = ip.octets();
    if NAT64.contains(&ip) {
        Some(Ipv4Addr::new(w, x, y, z))
    } else if SIX_TO_FOUR.contains(&ip) {
        Some(Ipv4Addr::new(a, b, c, d))
    } else {
        None
    }
}

/// Whether a name has the form of a host's (RFC 1123 §2.1, RFC 1035 §2.3.4). The dot of the root may end it.
fn can_be_looked_up(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits =
        |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    name.len() <= 253 && name.split('.').all(fits)
}

fn is_loopback_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

/// The push would have gone where pushes may not go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} is not an address that pushes may be sent to")]
pub struct Blocked {
    /// The host of the URL, as it is written there.
    pub host: String,
}

/// A URL that can be pushed to, in canonical form: http or https, with a host, without a user, password or fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct PushUrl {
    text: String,
    host: Host<String>,
    uri: Uri,
}

impl PushUrl {
    /// Parses as browsers do, and refuses what a push URL can't be: for URLs that are about to be set.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let url = Self::stored(text)?;
        if url.uri.port_u16() == Some(0) {
            return Err(InvalidUrl::Port);
        }
        if matches!(&url.host, Host::Domain(name) if !can_be_looked_up(name)) {
            return Err(InvalidUrl::Name);
        }
        Ok(url)
    }

    /// Parses a URL that is in force. What an earlier server has accepted is refused as little as can be: its push
    /// fails, and says so, rather than stops.
    pub fn stored(text: &str) -> Result<Self, InvalidUrl> {
        if text.len() > MAX_URL_LENGTH {
            return Err(InvalidUrl::TooLong);
        }
        // The parser would leave them out, and another URL than was written would be called.
        if text.chars().any(char::is_control) {
            return Err(InvalidUrl::Characters);
        }
        let url = Url::parse(text).map_err(InvalidUrl::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidUrl::Credentials);
        }
        if url.fragment().is_some() {
            return Err(InvalidUrl::Fragment);
        }
        if url.as_str().len() > MAX_URL_LENGTH {
            return Err(InvalidUrl::TooLong);
        }
        let host = url.host().ok_or(InvalidUrl::NoHost)?.to_owned();
        // A host may hold characters that the sender's parser refuses; better told here than at each attempt.
        let uri = url.as_str().parse().map_err(|_| InvalidUrl::Characters)?;
        Ok(Self { text: url.into(), host, uri })
    }

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address, if the host is one and not a name.
    pub fn literal_ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
            Host::Domain(_) => None,
        }
    }

    /// Without the query, which often holds a token: for the log of attempts.
    pub fn shown(&self) -> &str {
        self.text.split_once('?').map_or(&self.text, |(shown, _)| shown)
    }

    /// The same URL as the sender's type.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }
}

/// Without path and query, which often hold a token.
impl fmt::Debug for PushUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PushUrl({}://{}/…)", self.uri.scheme_str().unwrap_or_default(), self.host)
    }
}

/// Why a text isn't a push URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// No URL at all, or a relative one.
    #[error("not an absolute URL: {0}")]
    Malformed(url::ParseError),
    /// Another scheme.
    #[error("the scheme must be http or https")]
    Scheme,
    /// A user name or password.
    #[error("the URL must not hold a user name or password; set a header instead")]
    Credentials,
    /// A fragment, which is never sent.
    #[error("the URL must not have a fragment (#…)")]
    Fragment,
    /// No host.
    #[error("the URL has no host")]
    NoHost,
    /// The port 0, on which nobody listens.
    #[error("no receiver can be reached on port 0")]
    Port,
    /// A name that no name server can know.
    #[error(
        "the host is no name: 253 characters at most, in parts of 1 to 63 that don't begin or end with a hyphen"
    )]
    Name,
    /// A character that can't stand in the URL of a request.
    #[error("the URL holds a character that can't be sent")]
    Characters,
    /// Longer than [`MAX_URL_LENGTH`].
    #[error("the URL is longer than 2,048 characters")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn url(text: &str) -> PushUrl {
        PushUrl::parse(text).unwrap()
    }

    #[test]
    fn public_addresses_are_permitted() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "2001:200::1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(Egress::default().permits(ip(address), false), "{address}");
        }
    }

    #[test]
    fn inner_addresses_are_denied() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!Egress::default().permits(ip(address), false), "{address}");
        }
    }

    #[test]
    fn loopback_is_added_and_nothing_else() {
        let egress = Egress::default();
        for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert!(egress.permits(ip(address), true), "{address}");
        }
        for address in ["10.0.0.1", "169.254.169.254", "0.0.0.0", "::", "fe80::1", "64:ff9b::127.0.0.1"] {
            assert!(!egress.permits(ip(address), true), "{address}");
        }
    }

    #[test]
    fn allowed_networks_outrank_the_rules() {
        let egress = Egress::new(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::1"] {
            assert!(egress.permits(ip(address), false), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.1", "fc00::1"] {
            assert!(!egress.permits(ip(address), false), "{address}");
        }
    }

    #[test]
    fn a_url_is_kept_in_canonical_form() {
        for (text, canonical) in [
            ("https://Example.COM", "https://example.com/"),
            ("https://example.com:443/a/../b?c=d", "https://example.com/b?c=d"),
            (" http://example.com:8080/hook ", "http://example.com:8080/hook"),
            ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
            ("http://2130706433/", "http://127.0.0.1/"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            ("http://0177.0.0.1/", "http://127.0.0.1/"),
            ("http://[::FFFF:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
            ("http://１２７.0.0.1/", "http://127.0.0.1/"),
        ] {
            assert_eq!(url(text).as_str(), canonical);
            assert_eq!(url(text).uri().to_string(), canonical);
        }
    }

    #[test]
    fn what_is_no_push_url_is_refused_with_its_reason() {
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL_LENGTH));
        let long_when_encoded = format!("https://example.com/{}", "ü".repeat(500));
        for (text, error) in [
            ("", InvalidUrl::Malformed(url::ParseError::RelativeUrlWithoutBase)),
            ("/hook", InvalidUrl::Malformed(url::ParseError::RelativeUrlWithoutBase)),
            ("https://", InvalidUrl::Malformed(url::ParseError::EmptyHost)),
            ("http://1.2.3.999/", InvalidUrl::Malformed(url::ParseError::InvalidIpv4Address)),
            ("ftp://example.com/", InvalidUrl::Scheme),
            ("file:///etc/passwd", InvalidUrl::Scheme),
            ("javascript:alert(1)", InvalidUrl::Scheme),
            ("https://user@example.com/", InvalidUrl::Credentials),
            ("https://:secret@example.com/", InvalidUrl::Credentials),
            ("https://example.com/#part", InvalidUrl::Fragment),
            ("https://ex{ample.com/", InvalidUrl::Characters),
            ("https://example.com:0/", InvalidUrl::Port),
            ("http://1.2.3.4:0/", InvalidUrl::Port),
            ("https://example..com/", InvalidUrl::Name),
            ("https://.example.com/", InvalidUrl::Name),
            ("https://example.com../", InvalidUrl::Name),
            ("https://-example.com/", InvalidUrl::Name),
            ("https://example-.com/", InvalidUrl::Name),
            (&format!("https://{}.com/", "a".repeat(64)), InvalidUrl::Name),
            (&format!("https://{}", "a.".repeat(127) + "com/"), InvalidUrl::Name),
            ("https://example.com/\r\nHost: other", InvalidUrl::Characters),
            ("https://exam\tple.com/", InvalidUrl::Characters),
            (&long, InvalidUrl::TooLong),
            (&long_when_encoded, InvalidUrl::TooLong),
        ] {
            assert_eq!(PushUrl::parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn urls_that_show_where_they_lead_are_refused_early() {
        let egress = Egress::default();
        for text in [
            "http://localhost/",
            "http://LOCALHOST.:8080/",
            "http://a.localhost/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(egress.check_literal(&url(text), false).is_err(), "{text}");
            assert_eq!(egress.check_literal(&url(text), true), Ok(()), "{text}");
        }
        assert!(egress.check_literal(&url("http://169.254.169.254/latest/"), true).is_err());
        for text in ["https://example.com/", "http://notlocalhost/", "http://8.8.8.8/"] {
            assert_eq!(egress.check_literal(&url(text), false), Ok(()), "{text}");
        }
        let allowed = Egress::new(vec!["127.0.0.0/8".parse().unwrap()]);
        assert_eq!(allowed.check_literal(&url("http://localhost/"), false), Ok(()));
    }

    #[test]
    fn the_query_is_not_shown() {
        assert_eq!(url("https://a.example/b?token=s3cret?").shown(), "https://a.example/b");
        assert_eq!(url("https://a.example/b").shown(), "https://a.example/b");
    }

    #[test]
    fn literal_addresses_are_told_from_names() {
        assert_eq!(url("http://127.1/").literal_ip(), Some(ip("127.0.0.1")));
        assert_eq!(url("http://[::1]:80/").literal_ip(), Some(ip("::1")));
        assert_eq!(url("http://example.com/").literal_ip(), None);
    }

    #[test]
    fn debug_shows_no_token() {
        assert_eq!(
            format!("{:?}", url("https://example.com/hook?token=hunter2")),
            "PushUrl(https://example.com/…)"
        );
    }
}
