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
        push_disabled -> Bool,
        push_resumed_at -> BigInt,
        tells_of_backlog -> Bool,
    }
}

diesel::table! {
    positions (tenant_id) {
        tenant_id -> BigInt,
        version -> BigInt,
        last_sequence -> BigInt,
        removed_through -> BigInt,
        last_success_at -> Nullable<BigInt>,
        held_until -> Nullable<BigInt>,
        lane_owner -> Nullable<BigInt>,
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
        processed_at -> Nullable<BigInt>,
        response_status -> Nullable<SmallInt>,
        error -> Nullable<SmallInt>,
        attempts_before -> Integer,
        repushed_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    attempts (tenant_id, sequence, number) {
        tenant_id -> BigInt,
        sequence -> BigInt,
        number -> Integer,
        started_at -> BigInt,
        duration_ms -> Integer,
        url -> Text,
        address -> Nullable<Text>,
        reason -> SmallInt,
        response_status -> Nullable<SmallInt>,
        response_text -> Text,
        error -> Nullable<SmallInt>,
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
        name -> Nullable<Text>,
        version -> Nullable<Text>,
        started_at -> Nullable<BigInt>,
        lanes -> Nullable<BigInt>,
        leases -> Nullable<BigInt>,
    }
}

diesel::table! {
    instance (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::table! {
    jobs (tenant_id, id) {
        tenant_id -> BigInt,
        id -> Text,
        created_at -> BigInt,
        action -> SmallInt,
        dry_run -> Bool,
        task -> Text,
        state -> SmallInt,
        owner -> Nullable<BigInt>,
        total -> Nullable<BigInt>,
        counted -> BigInt,
        processed -> BigInt,
        failed -> BigInt,
        position -> BigInt,
        started_at -> Nullable<BigInt>,
        ended_at -> Nullable<BigInt>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(jobs, nodes, notifications, states);

diesel::table! {
    alert_states (tenant_id, kind) {
        tenant_id -> BigInt,
        kind -> Text,
        since -> BigInt,
    }
}

diesel::table! {
    alerts (tenant_id, id, way) {
        tenant_id -> BigInt,
        id -> Text,
        way -> SmallInt,
        kind -> Text,
        at -> BigInt,
        since -> BigInt,
        detail -> Text,
        attempts -> Integer,
        due_at -> Nullable<BigInt>,
        owner -> Nullable<BigInt>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(nodes, positions);
diesel::allow_tables_to_appear_in_same_query!(positions, tenants);
diesel::allow_tables_to_appear_in_same_query!(alert_states, positions);
diesel::allow_tables_to_appear_in_same_query!(alert_states, tenants);
diesel::allow_tables_to_appear_in_same_query!(alerts, nodes);
