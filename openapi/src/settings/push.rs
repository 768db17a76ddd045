//! How notifications are pushed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::macros::{choice, settings};
use super::secret::SecretText;

settings! {
    /// How notifications are pushed.
    PushSettings, PushPatch {
        /// The one URL to push to. Null: nothing is pushed, everything can be pulled.
        #[cfg_attr(feature = "openapi", schema(format = "uri"))]
        url: Option<String> => String,
        /// False pauses pushing; what arrives meanwhile waits. Default true.
        enabled: bool => bool,
        /// The header `User-Agent`. Null, the default: the server's name and version.
        #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
        user_agent: Option<String> => String,
        /// The media type of a notification's document: the header `Content-Type` of a push, in the format `cloudEvents`
        /// the event's `datacontenttype`. Default `application/json`.
        content_type: ContentType => ContentType,
        /// How long an attempt may take in all, from the look-up of the host's name to the end of the answer: 1 to 120
        /// seconds. Default 15.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 120))]
        timeout_seconds: u32 => u32,
        /// The most attempts at a time, 1 to 256: a hard limit, of each node. Default 32.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 256))]
        max_concurrency: u32 => u32,
        /// The most attempts in a minute, 1 to 1,000,000, of each node. Null, the default: no limit.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000_000))]
        rate_limit: Option<u32> => u32,
        /// Whether the order of pushes is strict. Default `none`.
        ordering: Ordering => Ordering,
        /// How the server shows the receiver who it is, apart from the signature.
        authentication: Authentication => AuthenticationPatch,
        /// Client certificate and authorities of the connection.
        tls: TlsSettings => TlsPatch,
        /// The signature of pushes.
        signing: SigningSettings => SigningPatch,
        /// The client id of `clientIdEcho`, sent in a header wherever acknowledgement or verification is of that kind: 1
        /// to 255 visible ASCII characters. Default: the tenant's id.
        #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
        client_id: String => String,
        /// The header of `clientIdEcho`. Default `X-AdobeSign-ClientId`.
        #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
        client_id_header: String => String,
        /// Which answers count as delivered.
        acknowledgement: Acknowledgement => AcknowledgementPatch,
        /// How a URL is verified before it is accepted, and before a push is resumed.
        verification: Verification => VerificationPatch,
        /// When a failed push is tried again.
        retry: Retry => RetryPatch,
        /// Disables the push when a notification's retries are exhausted and nothing was delivered for so many seconds, 60
        /// to 31,536,000 (a year). Events are stored all the same, and wait. Null, the default: never.
        #[cfg_attr(feature = "openapi", schema(minimum = 60, maximum = 31_536_000))]
        disable_after_seconds: Option<u32> => u32,
        /// Whether a notification is dismissed once it is delivered. Default false.
        auto_dismiss: bool => bool,
        ;
        /// What becomes of the notifications that wait, when this change resumes the push. Default `backlog`. Not kept.
        resume: Resume,
    }
}

choice! {
    /// The media type in which notifications are pushed. The document is the same.
    ContentType {
        /// `application/json`.
        #[serde(rename = "application/json")]
        Json,
        /// `application/vnd.api+json`, as JSON:API has it.
        #[serde(rename = "application/vnd.api+json")]
        JsonApi,
    }
}

impl ContentType {
    /// The media type.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::JsonApi => crate::MEDIA_TYPE,
        }
    }
}

choice! {
    /// Whether the order of pushes is strict.
    Ordering {
        /// Oldest first, several at a time; a notification that failed is retried beside the others.
        None,
        /// Strictly in sequence, one at a time: the next goes only when the one before is delivered or given up.
        Fifo,
    }
}

choice! {
    /// What becomes of the notifications that wait, when a push is resumed.
    Resume {
        /// They are pushed, oldest first, at a rising rate.
        Backlog,
        /// They are given up (`failed`) and can be pulled and pushed again; only what arrives from now on is pushed. What
        /// is being sent at this moment is waited for, up to 10 seconds.
        FromNow,
    }
}

/// How the server shows the receiver who it is. Secrets are not among the members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Authentication {
    /// The signature alone.
    #[cfg_attr(feature = "openapi", schema(title = "NoAuthentication"))]
    None,
    /// A header with a fixed value, as Signals Notebook sends it.
    #[cfg_attr(feature = "openapi", schema(title = "HeaderAuthentication"))]
    Header {
        /// The header's name.
        name: String,
    },
    /// User name and password (RFC 7617).
    #[cfg_attr(feature = "openapi", schema(title = "BasicAuthentication"))]
    Basic {
        /// The user name.
        username: String,
    },
    /// A fixed bearer token (RFC 6750).
    #[cfg_attr(feature = "openapi", schema(title = "BearerAuthentication"))]
    Bearer,
    /// A fixed value of the header `Authorization`, sent as it is: ServiceOptimizer's JWT.
    #[cfg_attr(feature = "openapi", schema(title = "AuthorizationAuthentication"))]
    Authorization,
    /// An access token by OAuth 2.0 client credentials (RFC 6749 §4.4): fetched, kept until shortly before it ends, and
    /// fetched again when the receiver answers 401.
    #[cfg_attr(feature = "openapi", schema(title = "Oauth2Authentication"))]
    #[serde(rename_all = "camelCase")]
    Oauth2 {
        /// The token endpoint.
        token_url: String,
        /// The client id.
        client_id: String,
        /// The scope to ask for, if any.
        scope: Option<String>,
    },
}

choice! {
    /// The kind of authentication towards the receiver.
    AuthenticationKind {
        /// The signature alone.
        None,
        /// A header with a fixed value.
        Header,
        /// User name and password.
        Basic,
        /// A bearer token.
        Bearer,
        /// A fixed `Authorization` header.
        Authorization,
        /// OAuth 2.0 client credentials.
        Oauth2,
    }
}

/// What is written to change [`Authentication`]. Each member belongs to the kinds that it names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationPatch {
    /// The kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<AuthenticationKind>,
    /// `header`: the header's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `header` and `authorization`: the header's value, a secret of 1 to 4,096 visible ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<SecretText>,
    /// `basic`: the user name, without a colon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub username: Option<String>,
    /// `basic`: the password, a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretText>,
    /// `bearer`: the token, a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretText>,
    /// `oauth2`: the token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = "uri"))]
    pub token_url: Option<String>,
    /// `oauth2`: the client id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub client_id: Option<String>,
    /// `oauth2`: the client secret, a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretText>,
    /// `oauth2`: the scope to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub scope: Option<String>,
}

settings! {
    /// Client certificate and authorities of the connection to the receiver.
    TlsSettings, TlsPatch {
        /// The certificate that the server shows to the receiver (mutual TLS), with its chain, in PEM. Null: none.
        client_certificate: Option<String> => String,
        /// The authorities that are trusted besides the public ones, in PEM. Null: none.
        authorities: Option<String> => String,
        ;
        /// The private key of the client certificate in PEM (PKCS#8, PKCS#1 or SEC1), a secret.
        client_key: SecretText,
    }
}

settings! {
    /// The signature of pushes (Standard Webhooks).
    SigningSettings, SigningPatch {
        /// How long the old secret signs beside the new one after a change, 0 to 2,592,000 seconds (30 days). Default
        /// 86,400 (a day).
        #[cfg_attr(feature = "openapi", schema(maximum = 2_592_000))]
        overlap_seconds: u32 => u32,
        ;
        /// A new secret: `whsec_` and 24 to 64 bytes in base64. A tenant has one from the beginning.
        secret: SecretText,
    }
}

/// Which answers count as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Acknowledgement {
    /// The rule. Default `status`.
    pub kind: AcknowledgementKind,
}

/// What is written to change [`Acknowledgement`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AcknowledgementPatch {
    /// The rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<AcknowledgementKind>,
}

choice! {
    /// The rule by which an answer counts as delivered.
    AcknowledgementKind {
        /// Any 2xx.
        Status,
        /// A 2xx that repeats the client id, in the header of the same name or in the member `xAdobeSignClientId` of a
        /// JSON body: Acrobat Sign.
        ClientIdEcho,
        /// A 2xx with the JSON body `{"Success":true,"Code":0,"Message":…}`, the code as number or string:
        /// ServiceOptimizer.
        SuccessEnvelope,
    }
}

/// How a URL is verified before it is accepted, and before a push is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verification {
    /// The way. Default `none`.
    pub kind: VerificationKind,
}

/// What is written to change [`Verification`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VerificationPatch {
    /// The way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<VerificationKind>,
}

choice! {
    /// The way in which a URL is verified.
    VerificationKind {
        /// Not at all.
        None,
        /// `GET` with the client id, which a 2xx must repeat as in the acknowledgement of the same name: Acrobat Sign's
        /// verification of intent.
        ClientIdEcho,
        /// `OPTIONS` with `WebHook-Request-Origin`, which the answer must allow: CloudEvents' HTTP webhook.
        CloudEvents,
    }
}

/// When a failed push is tried again. `jitter` is the largest share of a delay that is added to it at random, 0 to 1, so
/// that failures don't return all at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Retry {
    /// Never.
    #[cfg_attr(feature = "openapi", schema(title = "NoRetry"))]
    None,
    /// After the same delay each time.
    #[cfg_attr(feature = "openapi", schema(title = "FixedRetry"))]
    #[serde(rename_all = "camelCase")]
    Fixed {
        /// The delay in seconds, 1 to 604,800.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 604_800))]
        every_seconds: u32,
        /// Attempts in all, the first among them, 1 to 100.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
        attempts: u32,
        /// The largest share of a delay that is added to it at random, 0 to 1.
        #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1))]
        jitter: f64,
    },
    /// After delays that grow by a factor.
    #[cfg_attr(feature = "openapi", schema(title = "ExponentialRetry"))]
    #[serde(rename_all = "camelCase")]
    Exponential {
        /// Seconds before the first retry, 1 to 86,400.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86_400))]
        first_seconds: u32,
        /// By how much each delay is longer than the one before, 1 to 10.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10))]
        factor: f64,
        /// The longest delay in seconds, 1 to 604,800.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 604_800))]
        cap_seconds: u32,
        /// No retry is made whose delays add up to more than so many seconds since the first failure, 1 to 31,536,000.
        /// Null: the number of attempts alone decides.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 31_536_000))]
        give_up_after_seconds: Option<u32>,
        /// Attempts in all, the first among them, 1 to 100.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
        attempts: u32,
        /// The largest share of a delay that is added to it at random, 0 to 1.
        #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1))]
        jitter: f64,
    },
    /// After the delays of a list.
    #[cfg_attr(feature = "openapi", schema(title = "ListRetry"))]
    #[serde(rename_all = "camelCase")]
    List {
        /// The delays in seconds, each 1 to 604,800; 1 to 99 of them.
        #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 99))]
        delays_seconds: Vec<u32>,
        /// The largest share of a delay that is added to it at random, 0 to 1.
        #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1))]
        jitter: f64,
    },
}

choice! {
    /// The kind of retry schedule.
    RetryKind {
        /// Never.
        None,
        /// The same delay each time.
        Fixed,
        /// Delays that grow by a factor.
        Exponential,
        /// The delays of a list.
        List,
    }
}

/// What is written to change [`Retry`]. Each member belongs to the kinds that have it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryPatch {
    /// The kind. Its other members begin with that kind's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RetryKind>,
    /// `fixed`: the delay in seconds, 1 to 604,800. Default 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 604_800))]
    pub every_seconds: Option<u32>,
    /// `exponential`: seconds before the first retry, 1 to 86,400. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86_400))]
    pub first_seconds: Option<u32>,
    /// `exponential`: by how much each delay is longer than the one before, 1 to 10. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10))]
    pub factor: Option<f64>,
    /// `exponential`: the longest delay in seconds, 1 to 604,800. Default 43,200 (12 hours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 604_800))]
    pub cap_seconds: Option<u32>,
    /// `exponential`: no retry is made whose delays add up to more than so many seconds, 1 to 31,536,000. Default null:
    /// the number of attempts alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 31_536_000))]
    pub give_up_after_seconds: Option<u32>,
    /// `list`: the delays in seconds, each 1 to 604,800; 1 to 99 of them. Default: those of Standard Webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 99))]
    pub delays_seconds: Option<Vec<u32>>,
    /// `fixed` and `exponential`: attempts in all, the first among them, 1 to 100. Default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
    pub attempts: Option<u32>,
    /// All but `none`: the largest share of a delay that is added to it at random, 0 to 1. Default 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1))]
    pub jitter: Option<f64>,
}

/// Whether notifications are pushed, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PushHealth {
    /// The state.
    pub state: PushHealthState,
    /// Why push is paused or disabled.
    pub reason: Option<String>,
    /// Until when pushes are signed with an earlier secret too; null when they aren't.
    #[serde(default, with = "crate::time::option")]
    pub previous_secret_until: Option<DateTime<Utc>>,
}

choice! {
    /// Whether notifications are pushed.
    PushHealthState {
        /// There is no URL.
        None,
        /// They are pushed.
        Active,
        /// They wait until an admin resumes the push.
        Paused,
        /// They wait: the server gave up on the receiver, see `disableAfterSeconds`. An admin resumes the push.
        Disabled,
    }
}
