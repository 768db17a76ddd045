//! The atomic operations extension of JSON:API: many changes in one request, all or nothing.

use serde::{Deserialize, Serialize};

use crate::event::{EventData, NotStored};
use crate::jsonapi::{Identifier, RawResource};
use crate::notification::{FlagsData, Notification};

/// The most operations that one request may hold.
pub const MAX_OPERATIONS: usize = 1000;

/// The body of `POST /operations`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationsDocument {
    /// Up to 1,000 operations, carried out in order, all or none.
    #[serde(rename = "atomic:operations")]
    #[cfg_attr(feature = "openapi", schema(max_items = 1000, min_items = 1))]
    pub operations: Vec<Operation>,
}

/// One operation.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "op", rename_all = "lowercase")]
#[expect(
    clippy::large_enum_variant,
    reason = "operations live as long as one request; a box would only be in the way"
)]
pub enum Operation {
    /// Posts an event. Needs the role `producer`.
    #[cfg_attr(feature = "openapi", schema(title = "AddOperation"))]
    Add {
        /// The event.
        data: EventData,
        /// The event's users and entities.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        included: Vec<RawResource>,
    },
    /// Changes flags of a notification. Needs the role `consumer`.
    #[cfg_attr(feature = "openapi", schema(title = "UpdateOperation"))]
    Update {
        /// Which; may be left out, as `data` names it too.
        #[serde(skip_serializing_if = "Option::is_none")]
        r#ref: Option<Identifier>,
        /// The flags.
        data: FlagsData,
    },
}

/// The answer of `POST /operations`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationResults {
    /// One result for each operation, in the same order.
    #[serde(rename = "atomic:results")]
    pub results: Vec<OperationResult>,
}

/// The result of one operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationResult {
    /// The notification after the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Notification>,
    /// For an event that the tenant has not selected: why it was not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<NotStored>,
}
