//! The store's reads: filters with keyset pagination, single rows, and the numbers of the front page.

use super::page::{CALLS_MAX, MINUTES_MAX, PageEnd, RISKIEST_MAX, rows_of};
use crate::sqlite::damaged;
use prunella_schemas::port::{Dashboard, Query, Rows};
use prunella_schemas::risk::decay;
use prunella_schemas::{Event, Id, Message, Timestamp, Transition};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

/// A page of a table, newest first.
pub(super) fn page<M: Message>(
    connection: &Connection,
    table: &str,
    query: &Query,
) -> rusqlite::Result<Rows<M>> {
    let limit = rows_of(query);
    let (condition, mut values) = filter(query);
    let hidden = if table == "dead_letter" { " AND NOT replayed" } else { "" };
    values.push(Value::Integer(i64::from(limit) + 1));
    let sql = format!(
        "SELECT time, uid, version, bytes FROM {table} WHERE 1 {condition}{hidden} ORDER BY time DESC, uid DESC LIMIT ?{}",
        values.len()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut out = Rows::default();
    let mut last = None;
    while let Some(row) = rows.next()? {
        if out.rows.len() >= limit as usize {
            out.next = last.map(|(time, uid)| PageEnd { time, uid: Id(uid) }.to_string());
            break;
        }
        last = Some((row.get::<_, i64>(0)?, row.get::<_, [u8; 16]>(1)?));
        out.rows.push(message(row, 2)?);
    }
    Ok(out)
}

pub(super) fn one<M: Message>(connection: &Connection, table: &str, uid: Id) -> rusqlite::Result<Option<M>> {
    let sql = format!("SELECT version, bytes FROM {table} WHERE uid = ?1");
    connection.prepare_cached(&sql)?.query_row([uid.0], |row| message(row, 0)).optional()
}

pub(super) fn transitions(connection: &Connection, plan: Id) -> rusqlite::Result<Vec<Transition>> {
    let sql = "SELECT version, bytes FROM transition WHERE plan_uid = ?1 ORDER BY sequence";
    connection.prepare_cached(sql)?.query_map([plan.0], |row| message(row, 0))?.collect()
}

/// What a principal called at or after `since`, oldest first; the newest `CALLS_MAX` of it.
pub(super) fn calls(
    connection: &Connection,
    tenant: &str,
    principal: &str,
    since: Timestamp,
) -> rusqlite::Result<Vec<Event>> {
    let sql = "SELECT version, bytes FROM event WHERE principal = ?1 AND time >= ?2 AND tenant = ?3 \
               ORDER BY time DESC, uid DESC LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let values = params![principal, since.0, tenant, CALLS_MAX as i64];
    let mut events: Vec<Event> =
        statement.query_map(values, |row| message(row, 0))?.collect::<Result<_, _>>()?;
    events.reverse();
    Ok(events)
}

pub(super) fn dashboard(connection: &Connection, tenant: Option<&str>) -> rusqlite::Result<Dashboard> {
    let mut out = Dashboard::default();
    let sql = "SELECT kind, word, SUM(rows) FROM tally WHERE ?1 IS NULL OR tenant = ?1 GROUP BY kind, word";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([tenant])?;
    while let Some(row) = rows.next()? {
        let (kind, word, count): (String, String, u64) =
            (row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs());
        match kind.as_str() {
            "event" => out.events = count,
            "finding" => out.findings = count,
            "receipt" => out.receipts = count,
            "dead_letter" => out.dead_letters = count,
            "severity" if count > 0 => drop(out.findings_by_severity.insert(word, count)),
            "technique" if count > 0 => drop(out.findings_by_technique.insert(word, count)),
            _ => {}
        }
    }
    let sql = "SELECT state, count(*) FROM plan WHERE ?1 IS NULL OR tenant = ?1 GROUP BY state";
    let mut statement = connection.prepare_cached(sql)?;
    let states = statement.query_map([tenant], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?.unsigned_abs())))?;
    out.plans_by_state = states.collect::<Result<_, _>>()?;
    out.newest_event = newest_minute(connection, tenant)?;
    out.events_per_minute = minutes(connection, tenant, out.newest_event)?;
    out.riskiest = riskiest(connection, tenant, out.newest_event.unwrap_or_default())?;
    out.newest_event = newest_event(connection, tenant, out.newest_event)?;
    Ok(out)
}

/// The conditions of a query, and the values they name.
fn filter(query: &Query) -> (String, Vec<Value>) {
    let (mut sql, mut values) = (String::new(), Vec::new());
    let mut add = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(&format!(" AND {condition} ?{}", values.len()));
        }
    };
    let text = |t: &Option<String>| t.clone().map(Value::Text);
    add("principal =", text(&query.principal));
    add("tenant =", text(&query.tenant));
    add("operation =", text(&query.operation));
    add("severity >=", query.severity_min.map(|s| Value::Integer(i64::from(s))));
    add("time >=", query.since.map(|t| Value::Integer(t.0)));
    add("time <=", query.until.map(|t| Value::Integer(t.0)));
    if let Some(end) = query.before.as_deref().and_then(PageEnd::parse) {
        values.push(Value::Integer(end.time));
        values.push(Value::Blob(end.uid.0.to_vec()));
        sql.push_str(&format!(" AND (time, uid) < (?{}, ?{})", values.len() - 1, values.len()));
    }
    (sql, values)
}

fn message<M: Message>(row: &Row<'_>, first: usize) -> rusqlite::Result<M> {
    let bytes = row.get_ref(first + 1)?.as_bytes().map_err(damaged)?;
    M::decode(row.get(first)?, bytes).map_err(damaged)
}

fn newest_minute(connection: &Connection, tenant: Option<&str>) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT minute FROM minute WHERE ?1 IS NULL OR tenant = ?1 ORDER BY minute DESC LIMIT 1";
    let minute = connection.prepare_cached(sql)?.query_row([tenant], |r| r.get(0)).optional()?;
    Ok(minute.map(Timestamp))
}

/// The newest event whose clock does not run ahead: the newest one of the newest minute that counts.
fn newest_event(
    connection: &Connection,
    tenant: Option<&str>,
    minute: Option<Timestamp>,
) -> rusqlite::Result<Option<Timestamp>> {
    let Some(minute) = minute else { return Ok(None) };
    let sql = "SELECT time FROM event INDEXED BY event_by_time WHERE time >= ?1 AND time < ?2 AND (?3 IS NULL OR tenant = ?3) \
               ORDER BY time DESC LIMIT 1";
    let values = params![minute.0, minute.plus_ms(60_000).0, tenant];
    let time = connection.prepare_cached(sql)?.query_row(values, |r| r.get(0)).optional()?;
    Ok(Some(time.map_or(minute, Timestamp)))
}

fn minutes(
    connection: &Connection,
    tenant: Option<&str>,
    newest: Option<Timestamp>,
) -> rusqlite::Result<Vec<(Timestamp, u64)>> {
    let Some(newest) = newest else { return Ok(Vec::new()) };
    let oldest = newest.plus_ms(-(MINUTES_MAX - 1) * 60_000);
    let sql = "SELECT minute, SUM(events) FROM minute WHERE minute >= ?1 AND (?2 IS NULL OR tenant = ?2) \
               GROUP BY minute ORDER BY minute";
    let mut statement = connection.prepare_cached(sql)?;
    let count = |r: &Row<'_>| Ok((Timestamp(r.get(0)?), r.get::<_, i64>(1)?.unsigned_abs()));
    statement.query_map(params![oldest.0, tenant], count)?.collect()
}

fn riskiest(
    connection: &Connection,
    tenant: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<Vec<(String, u8)>> {
    let sql = "SELECT principal, score, time FROM risk WHERE ?1 IS NULL OR tenant = ?1 ORDER BY heat DESC, principal LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![tenant, RISKIEST_MAX as i64], |r| {
        let score = decay(r.get(1)?, now.since_ms(Timestamp(r.get(2)?)));
        Ok((r.get::<_, String>(0)?, score.round().clamp(0.0, 100.0) as u8))
    })?;
    let rows: Vec<(String, u8)> = rows.collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter(|(_, score)| *score > 0).collect())
}
