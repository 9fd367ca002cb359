//! The port's reads over ClickHouse, as a user who may only read. Every value travels as a parameter of the server.
//!
//! A repeat that no merge has dropped yet is dropped here (`LIMIT 1 BY`, or by counting identities): answers are exact
//! whatever the server has merged.

use super::{Server, describe};
use crate::store::page::{CALLS_MAX, MINUTES_MAX, PageEnd, RISKIEST_MAX, check, rows_of};
use async_trait::async_trait;
use clickhouse::{Client, Row, query};
use prunella_schemas::limits::FUTURE_MS_MAX;
use prunella_schemas::port::{Dashboard, PortError, Query, Rows, Store};
use prunella_schemas::risk::{RISK_HALF_LIFE_MS, decay};
use prunella_schemas::{DeadLetter, Event, Finding, Id, Message, Receipt, Timestamp, Transition};
use serde::Deserialize;

/// Longest query, in seconds.
const EXECUTION_S_MAX: &str = "20";

/// Reads of a ClickHouse database. Cheap to clone.
#[derive(Clone)]
pub struct ClickHouseStore {
    client: Client,
}

#[derive(Row, Deserialize)]
struct Stored {
    ms: i64,
    id: [u8; 16],
    version: u8,
    body: String,
    record: String,
}

#[derive(Row, Deserialize)]
struct Counted {
    word: String,
    rows: u64,
}

#[derive(Row, Deserialize)]
struct Minute {
    minute: i64,
    rows: u64,
}

#[derive(Row, Deserialize)]
struct Hot {
    principal: String,
    newest: f64,
    ms: i64,
}

/// A table as the port sees it.
struct Table {
    /// What is read from: a table, or a query in parentheses.
    from: &'static str,
    /// What finds a row again quickly.
    key: &'static str,
    uid: &'static str,
    raw: &'static str,
}

const EVENTS: Table =
    Table { from: "events", key: "tenant, class_uid, time_bucket, uid", uid: "uid", raw: "raw" };
const FINDINGS: Table = Table { from: "findings", key: "tenant, uid", uid: "uid", raw: "''" };
const RECEIPTS: Table = Table { from: "receipts", key: "tenant, uid", uid: "uid", raw: "''" };
/// Of a record refused more than once the newest refusal.
const DEAD_LETTERS: Table = Table {
    from: "(SELECT * FROM dead_letters ORDER BY time DESC LIMIT 1 BY uid)",
    key: "tenant, uid",
    uid: "uid",
    raw: "''",
};
/// The newest transition of each plan.
const PLANS: Table = Table {
    from: "(SELECT * FROM plans ORDER BY sequence DESC LIMIT 1 BY plan_uid)",
    key: "tenant, plan_uid",
    uid: "plan_uid",
    raw: "''",
};

impl ClickHouseStore {
    pub fn new(server: &Server) -> Self {
        ClickHouseStore { client: server.client().with_setting("max_execution_time", EXECUTION_S_MAX) }
    }

    /// What a principal called at or after `since`, oldest first: what a probe looks at.
    pub async fn calls_since(
        &self,
        tenant: &str,
        principal: &str,
        since: Timestamp,
    ) -> Result<Vec<Event>, PortError> {
        let query = Query {
            tenant: Some(tenant.to_owned()),
            principal: Some(principal.to_owned()),
            since: Some(since),
            ..Query::default()
        };
        let mut rows: Vec<Event> = self.rows(&EVENTS, &query, CALLS_MAX as u32).await?.rows;
        rows.reverse();
        Ok(rows)
    }

    async fn page<M: Message>(&self, table: &Table, query: &Query) -> Result<Rows<M>, PortError> {
        check(query).map_err(PortError::Invalid)?;
        self.rows(table, query, rows_of(query)).await
    }

    async fn rows<M: Message>(&self, table: &Table, query: &Query, limit: u32) -> Result<Rows<M>, PortError> {
        let Table { from, key, uid, raw } = table;
        let (condition, values) = filter(query, uid);
        // The bodies are read for the rows of the page only.
        let sql = format!(
            "SELECT toUnixTimestamp64Milli(time) AS ms, {uid} AS id, version, body, {raw} AS record FROM {from} WHERE ({key}) IN \
             (SELECT {key} FROM {from} WHERE 1 {condition} ORDER BY time DESC, {uid} DESC LIMIT 1 BY {uid} LIMIT {{rows:UInt32}}) \
             ORDER BY time DESC, {uid} DESC LIMIT 1 BY {uid}"
        );
        let mut ask = self.client.query_raw(&sql).param("rows", limit + 1);
        for (name, value) in values {
            ask = ask.param(name, value);
        }
        let mut stored: Vec<Stored> = fetch(ask).await?;
        let mut out = Rows::default();
        if stored.len() > limit as usize {
            stored.truncate(limit as usize);
            out.next = stored.last().map(|row| PageEnd { time: row.ms, uid: Id(row.id) }.to_string());
        }
        out.rows = stored.into_iter().map(message).collect::<Result<_, _>>()?;
        Ok(out)
    }

    async fn one<M: Message>(&self, table: &Table, id: Id) -> Result<Option<M>, PortError> {
        let Table { from, uid, raw, .. } = table;
        let sql = format!(
            "SELECT toUnixTimestamp64Milli(time) AS ms, {uid} AS id, version, body, {raw} AS record FROM {from} \
             WHERE {uid} = toFixedString(unhex({{uid:String}}), 16) LIMIT 1"
        );
        let found: Vec<Stored> = fetch(self.client.query_raw(&sql).param("uid", id.to_string())).await?;
        found.into_iter().next().map(message).transpose()
    }

    async fn counted(&self, tenant: Option<&str>, sql: &str) -> Result<Vec<Counted>, PortError> {
        let sql = sql.replace("$tenant", OF_TENANT);
        fetch(self.client.query_raw(&sql).param("tenant", tenant.unwrap_or_default())).await
    }

    /// The newest minute that counts: a clock that runs ahead must not pull the whole chart along.
    async fn minutes(&self, tenant: Option<&str>) -> Result<Vec<Minute>, PortError> {
        let sql = format!(
            "WITH (SELECT max(least(time, received + INTERVAL {FUTURE_MS_MAX} MILLISECOND)) FROM events WHERE {OF_TENANT}) AS newest \
             SELECT toInt64(toUnixTimestamp(toStartOfMinute(least(time, received + INTERVAL {FUTURE_MS_MAX} MILLISECOND)))) * 1000 AS minute, \
             uniqExact(uid) AS rows FROM events WHERE {OF_TENANT} AND time >= newest - INTERVAL {MINUTES_MAX} MINUTE \
             GROUP BY minute HAVING minute > toUnixTimestamp(toStartOfMinute(newest)) * 1000 - {MINUTES_MAX} * 60000 ORDER BY minute"
        );
        fetch(self.client.query_raw(&sql).param("tenant", tenant.unwrap_or_default())).await
    }

    async fn newest(&self, tenant: Option<&str>, minute: Timestamp) -> Result<Timestamp, PortError> {
        let sql = format!(
            "SELECT toUnixTimestamp64Milli(max(time)) FROM events WHERE {OF_TENANT} \
             AND time >= fromUnixTimestamp64Milli({{low:Int64}}) AND time < fromUnixTimestamp64Milli({{high:Int64}})"
        );
        let ask = self.client.query_raw(&sql).param("tenant", tenant.unwrap_or_default());
        let found: Vec<i64> =
            fetch(ask.param("low", minute.0).param("high", minute.plus_ms(60_000).0)).await?;
        Ok(found.first().map_or(minute, |ms| minute.max(Timestamp(*ms))))
    }

    async fn riskiest(&self, tenant: Option<&str>, now: Timestamp) -> Result<Vec<(String, u8)>, PortError> {
        // The order of the decayed scores is the same whenever one looks.
        let sql = format!(
            "SELECT principal, argMax(score, (time, score)) AS newest, toUnixTimestamp64Milli(max(time)) AS ms FROM risk \
             WHERE {OF_TENANT} GROUP BY tenant, principal \
             ORDER BY log2(greatest(newest, 1e-300)) + ms / {RISK_HALF_LIFE_MS} DESC, principal LIMIT {RISKIEST_MAX}"
        );
        let ask = self.client.query_raw(&sql).param("tenant", tenant.unwrap_or_default());
        let hot: Vec<Hot> = fetch(ask).await?;
        let scores = hot.into_iter().map(|Hot { principal, newest, ms }| {
            let score = decay(newest, now.since_ms(Timestamp(ms)));
            (principal, score.round().clamp(0.0, 100.0) as u8)
        });
        Ok(scores.filter(|(_, score)| *score > 0).collect())
    }
}

/// No tenant means every tenant; a tenant's name is never empty.
const OF_TENANT: &str = "({tenant:String} = '' OR tenant = {tenant:String})";

async fn fetch<T: clickhouse::RowOwned + clickhouse::RowRead>(
    ask: query::Query,
) -> Result<Vec<T>, PortError> {
    ask.fetch_all().await.map_err(|e| describe(&e))
}

/// The message as it was on the log: the record that was cut out of an event goes back to where it stood.
fn message<M: Message>(stored: Stored) -> Result<M, PortError> {
    let corrupt = |e: &dyn std::fmt::Display| PortError::Corrupt(format!("a stored row does not read: {e}"));
    let mut body = stored.body;
    if !stored.record.is_empty() {
        let end = body
            .len()
            .checked_sub(1)
            .filter(|_| body.ends_with('}'))
            .ok_or_else(|| corrupt(&"it ends early"))?;
        body.truncate(end);
        body.push_str(",\"raw_data\":");
        body.push_str(&serde_json::to_string(&stored.record).map_err(|e| corrupt(&e))?);
        body.push('}');
    }
    M::decode(stored.version, body.as_bytes()).map_err(|e| corrupt(&e))
}

/// The conditions of a query and the parameters they name; the words come from here, the values never enter the text.
fn filter(query: &Query, uid: &str) -> (String, Vec<(&'static str, String)>) {
    let (mut sql, mut values) = (String::new(), Vec::new());
    let mut add = |condition: &str, name, value: Option<String>| {
        if let Some(value) = value {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push((name, value));
        }
    };
    let number = |t: Option<Timestamp>| t.map(|t| t.0.to_string());
    add("tenant = {tenant:String}", "tenant", query.tenant.clone());
    add("principal = {principal:String}", "principal", query.principal.clone());
    add("operation = {operation:String}", "operation", query.operation.clone());
    add("severity >= {severity:UInt8}", "severity", query.severity_min.map(|s| s.to_string()));
    add("time >= fromUnixTimestamp64Milli({since:Int64})", "since", number(query.since));
    add("time <= fromUnixTimestamp64Milli({until:Int64})", "until", number(query.until));
    if let Some(end) = query.before.as_deref().and_then(PageEnd::parse) {
        let condition = format!(
            "(time, {uid}) < (fromUnixTimestamp64Milli({{end_time:Int64}}), toFixedString(unhex({{end_uid:String}}), 16))"
        );
        add(&condition, "end_time", Some(end.time.to_string()));
        add("1", "end_uid", Some(end.uid.to_string()));
    }
    (sql, values)
}

#[async_trait]
impl Store for ClickHouseStore {
    async fn events(&self, query: &Query) -> Result<Rows<Event>, PortError> {
        self.page(&EVENTS, query).await
    }

    async fn event(&self, uid: Id) -> Result<Option<Event>, PortError> {
        self.one(&EVENTS, uid).await
    }

    async fn findings(&self, query: &Query) -> Result<Rows<Finding>, PortError> {
        self.page(&FINDINGS, query).await
    }

    async fn finding(&self, uid: Id) -> Result<Option<Finding>, PortError> {
        self.one(&FINDINGS, uid).await
    }

    async fn plans(&self, query: &Query) -> Result<Rows<Transition>, PortError> {
        self.page(&PLANS, query).await
    }

    async fn plan(&self, uid: Id) -> Result<Vec<Transition>, PortError> {
        let sql = "SELECT toUnixTimestamp64Milli(time) AS ms, uid AS id, version, body, '' AS record FROM plans \
                   WHERE plan_uid = toFixedString(unhex({uid:String}), 16) ORDER BY sequence LIMIT 1 BY sequence";
        let found: Vec<Stored> = fetch(self.client.query_raw(sql).param("uid", uid.to_string())).await?;
        found.into_iter().map(message).collect()
    }

    async fn receipts(&self, query: &Query) -> Result<Rows<Receipt>, PortError> {
        self.page(&RECEIPTS, query).await
    }

    async fn receipt(&self, uid: Id) -> Result<Option<Receipt>, PortError> {
        self.one(&RECEIPTS, uid).await
    }

    async fn dead_letters(&self, query: &Query) -> Result<Rows<DeadLetter>, PortError> {
        self.page(&DEAD_LETTERS, query).await
    }

    async fn dead_letter(&self, id: Id) -> Result<Option<DeadLetter>, PortError> {
        self.one(&DEAD_LETTERS, id).await
    }

    async fn dashboard(&self, tenant: Option<&str>) -> Result<Dashboard, PortError> {
        let mut out = Dashboard::default();
        let sql = "SELECT 'events' AS word, uniqExact(uid) AS rows FROM events WHERE $tenant \
                   UNION ALL SELECT 'findings', uniqExact(uid) FROM findings WHERE $tenant \
                   UNION ALL SELECT 'receipts', uniqExact(uid) FROM receipts WHERE $tenant \
                   UNION ALL SELECT 'dead_letters', uniqExact(uid) FROM dead_letters WHERE $tenant";
        for Counted { word, rows } in self.counted(tenant, sql).await? {
            match word.as_str() {
                "events" => out.events = rows,
                "findings" => out.findings = rows,
                "receipts" => out.receipts = rows,
                _ => out.dead_letters = rows,
            }
        }
        let map = |rows: Vec<Counted>| rows.into_iter().map(|c| (c.word, c.rows)).collect();
        let sql =
            "SELECT severity_name AS word, uniqExact(uid) AS rows FROM findings WHERE $tenant GROUP BY word";
        out.findings_by_severity = map(self.counted(tenant, sql).await?);
        let sql = "SELECT arrayJoin(techniques) AS word, uniqExact(uid) AS rows FROM findings WHERE $tenant GROUP BY word";
        out.findings_by_technique = map(self.counted(tenant, sql).await?);
        let sql = "SELECT newest AS word, count() AS rows FROM (SELECT argMax(state, sequence) AS newest FROM plans \
                   WHERE $tenant GROUP BY plan_uid) GROUP BY word";
        out.plans_by_state = map(self.counted(tenant, sql).await?);
        let minutes = self.minutes(tenant).await?;
        out.events_per_minute = minutes.iter().map(|m| (Timestamp(m.minute), m.rows)).collect();
        if let Some((minute, _)) = out.events_per_minute.last().copied() {
            out.riskiest = self.riskiest(tenant, minute).await?;
            out.newest_event = Some(self.newest(tenant, minute).await?);
        } else {
            out.riskiest = self.riskiest(tenant, Timestamp::ZERO).await?;
        }
        Ok(out)
    }
}
