//! The tables, one description for both databases. The reasons stand in the migrations.

diesel::table! {
    tenants (id) {
        id -> BigInt,
        public_id -> Text,
        name -> Text,
        created_at -> BigInt,
        deleted_at -> Nullable<BigInt>,
        settings -> Text,
        version -> BigInt,
        push_stopped -> Nullable<Text>,
        may_reach_loopback -> Bool,
    }
}

diesel::table! {
    positions (tenant_id) {
        tenant_id -> BigInt,
        version -> BigInt,
        last_sequence -> BigInt,
        removed_through -> BigInt,
        last_success_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    api_keys (tenant_id, id) {
        tenant_id -> BigInt,
        id -> Text,
        name -> Text,
        role -> Text,
        hash -> Binary,
        created_at -> BigInt,
        last_used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    notifications (tenant_id, sequence) {
        tenant_id -> BigInt,
        sequence -> BigInt,
        event_type -> Text,
        created_at -> BigInt,
        received_at -> BigInt,
        comment -> Nullable<Text>,
        extra -> Text,
        entity -> Nullable<Text>,
        created_by -> Nullable<Text>,
        included -> Text,
        idempotency_key -> Nullable<Binary>,
        body_hash -> Nullable<Binary>,
    }
}

diesel::table! {
    states (tenant_id, sequence) {
        tenant_id -> BigInt,
        sequence -> BigInt,
        is_dismissed -> Bool,
        is_read -> Bool,
        is_flagged -> Bool,
        push_state -> SmallInt,
        attempts -> Integer,
        due_at -> Nullable<BigInt>,
        owner -> Nullable<BigInt>,
        size -> Integer,
    }
}

diesel::table! {
    resources (tenant_id, kind, id) {
        tenant_id -> BigInt,
        kind -> SmallInt,
        id -> Text,
        included_in -> BigInt,
        named_by -> BigInt,
    }
}

diesel::table! {
    nodes (id) {
        id -> BigInt,
        seen_at -> BigInt,
    }
}

diesel::table! {
    instance (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(nodes, notifications, states);
