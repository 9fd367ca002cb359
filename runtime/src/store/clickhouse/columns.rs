//! The columns of each table as Rust structs, written in binary and checked against the table by the client.

use clickhouse::Row;
use serde::Serialize;
use std::borrow::Cow;

/// What every table begins with.
#[derive(Clone, Debug)]
pub struct First<'a> {
    pub tenant: Cow<'a, str>,
    /// Days since 1970.
    pub day: u16,
    pub uid: [u8; 16],
    pub time: i64,
    pub origin: i64,
    pub principal: Cow<'a, str>,
    pub operation: Cow<'a, str>,
    pub severity: u8,
    pub src_partition: i32,
    pub src_offset: i64,
    pub version: u8,
    pub body: Cow<'a, str>,
}

macro_rules! tables {
    ($($name:ident { $($field:ident : $type:ty),* $(,)? })*) => {$(
        #[derive(Clone, Debug, Row, Serialize)]
        pub struct $name<'a> {
            tenant: Cow<'a, str>,
            day: u16,
            uid: [u8; 16],
            time: i64,
            origin: i64,
            principal: Cow<'a, str>,
            operation: Cow<'a, str>,
            severity: u8,
            src_partition: i32,
            src_offset: i64,
            version: u8,
            body: Cow<'a, str>,
            $(pub $field: $type,)*
        }

        impl<'a> $name<'a> {
            #[allow(clippy::too_many_arguments, reason = "one per column, in the order of the table")]
            pub fn new(first: First<'a>, $($field: $type),*) -> Self {
                let First {
                    tenant, day, uid, time, origin, principal, operation, severity, src_partition, src_offset, version, body,
                } = first;
                $name {
                    tenant, day, uid, time, origin, principal, operation, severity, src_partition, src_offset, version, body,
                    $($field),*
                }
            }
        }

        impl Placed for $name<'_> {
            fn uid(&self) -> [u8; 16] {
                self.uid
            }
            fn day(&self) -> u16 {
                self.day
            }
        }
    )*};
}

/// Where a row is found again.
pub trait Placed {
    fn uid(&self) -> [u8; 16];
    fn day(&self) -> u16;
}

tables! {
    EventRow {
        class_uid: u32,
        time_bucket: u32,
        received: i64,
        activity_id: u8,
        status_id: u8,
        status_code: Cow<'a, str>,
        source: Cow<'a, str>,
        provider: Cow<'a, str>,
        service: Cow<'a, str>,
        region: Cow<'a, str>,
        account: Cow<'a, str>,
        source_ip: Cow<'a, str>,
        bytes_out: u64,
        flags: Vec<Cow<'a, str>>,
        raw: Cow<'a, str>,
    }
    ScoreRow { event_uid: [u8; 16], class_uid: u32, p_value: Option<f64> }
    SignalRow { event_uid: [u8; 16], weight: f64, p_value: Option<f64>, detail: Cow<'a, str> }
    FindingRow {
        severity_name: Cow<'a, str>,
        title: Cow<'a, str>,
        message: Cow<'a, str>,
        provider: Cow<'a, str>,
        confidence: u8,
        risk_score: u8,
        risk_level: Cow<'a, str>,
        tactics: Vec<String>,
        techniques: Vec<String>,
        event_count: u64,
        p_value: Option<f64>,
    }
    RiskRow { score: f64 }
    PlanRow {
        plan_uid: [u8; 16],
        sequence: u32,
        state: Cow<'a, str>,
        playbook: Cow<'a, str>,
        mode: Cow<'a, str>,
    }
    ReceiptRow {
        plan_uid: [u8; 16],
        state: Cow<'a, str>,
        evidence: Cow<'a, str>,
        contained: bool,
        delivery_ms: Option<i64>,
        detect_ms: Option<i64>,
        plan_ms: Option<i64>,
        apply_ms: Option<i64>,
        verify_ms: Option<i64>,
        total_ms: Option<i64>,
    }
    DeadLetterRow { detail: Cow<'a, str> }
}
