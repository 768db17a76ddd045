//! One declaration for what is read and what is written.

/// Declares a group of settings twice: as it is read, with every member, and as it is written, with every member
/// optional and those behind the semicolon, which are never read back. `name: Read => Written` gives both types.
macro_rules! settings {
    (
        $(#[$doc:meta])*
        $read:ident, $write:ident {
            $($(#[$member_doc:meta])* $member:ident: $type:ty => $written:ty,)*
            $(; $($(#[$only_doc:meta])* $only:ident: $only_type:ty,)*)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(rename_all = "camelCase")]
        pub struct $read {
            $($(#[$member_doc])* pub $member: $type,)*
        }

        #[doc = concat!("What is written to change [`", stringify!($read), "`]. Every member is optional.")]
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(
            description = concat!("What is written to change `", stringify!($read), "`. Every member is optional.")
        ))]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $write {
            $(
                $(#[$member_doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $member: Option<$written>,
            )*
            $($(
                $(#[$only_doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $only: Option<$only_type>,
            )*)?
        }
    };
}

/// Declares an enum without data whose names stand in camelCase on the wire.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(rename_all = "camelCase")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }
    };
}

pub(super) use {choice, settings};
