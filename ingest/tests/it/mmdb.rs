//! A small writer of MaxMind databases, by the published format, so that no real one needs to be here.
//!
//! Source: <https://maxmind.github.io/MaxMind-DB/>, version 2.0. Records have 24 bits, addresses 128.

use std::net::IpAddr;

pub enum Value {
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    Double(f64),
    Flag(bool),
    Map(Vec<(&'static str, Value)>),
    List(Vec<Value>),
}

pub use Value::{Double, Flag, List, Map, Number, Text};

/// A node's record: nothing, another node, or a row by its number.
#[derive(Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    Row(usize),
}

/// The bytes of a database with these rows.
pub fn database(rows: Vec<(&str, Value)>) -> Vec<u8> {
    let mut nodes = vec![[Record::Nothing; 2]];
    let mut data = Vec::new();
    let mut offsets = Vec::new();
    for (number, (block, value)) in rows.into_iter().enumerate() {
        offsets.push(data.len());
        value.write(&mut data);
        insert(&mut nodes, block, number);
    }
    let count = nodes.len();
    let mut bytes = Vec::new();
    for record in nodes.into_iter().flatten() {
        let number = match record {
            Record::Nothing => count,
            Record::Node(node) => node,
            Record::Row(row) => count + 16 + offsets[row],
        };
        bytes.extend_from_slice(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&data);
    bytes.extend_from_slice(b"\xAB\xCD\xEFMaxMind.com");
    let about = [
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_700_000_000)),
        ("database_type", Text("Fixture")),
        ("description", Map(vec![("en", Text("a fixture"))])),
        ("ip_version", Value::Short(6)),
        ("languages", List(vec![Text("en")])),
        ("node_count", Number(u32::try_from(count).unwrap())),
        ("record_size", Value::Short(24)),
    ];
    Map(about.into_iter().collect()).write(&mut bytes);
    bytes
}

/// Rows must not overlap.
fn insert(nodes: &mut Vec<[Record; 2]>, block: &str, row: usize) {
    let (address, length) = block.split_once('/').unwrap();
    let length: usize = length.parse().unwrap();
    let (bits, length) = match address.parse().unwrap() {
        // IPv4 lies at the very start of IPv6.
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), length + 96),
        IpAddr::V6(v6) => (v6.to_bits(), length),
    };
    let mut at = 0;
    for depth in 0..length {
        let side = (bits >> (127 - depth) & 1) as usize;
        if depth + 1 == length {
            nodes[at][side] = Record::Row(row);
        } else if let Record::Node(next) = nodes[at][side] {
            at = next;
        } else {
            nodes.push([Record::Nothing; 2]);
            let next = nodes.len() - 1;
            nodes[at][side] = Record::Node(next);
            at = next;
        }
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Text(text) => {
                head(2, text.len(), out);
                out.extend_from_slice(text.as_bytes());
            }
            Double(number) => {
                head(3, 8, out);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Value::Short(number) => {
                head(5, 2, out);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Value::Long(number) => {
                head(9, 8, out);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Number(number) => {
                head(6, 4, out);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Map(rows) => {
                head(7, rows.len(), out);
                for (name, value) in rows {
                    Text(name).write(out);
                    value.write(out);
                }
            }
            List(values) => {
                head(11, values.len(), out);
                values.iter().for_each(|value| value.write(out));
            }
            Flag(is_set) => head(14, usize::from(*is_set), out),
        }
    }
}

/// The control byte, and the type's own where it is beyond 7.
fn head(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (short, more) = if size < 29 { (size as u8, None) } else { (29, Some((size - 29) as u8)) };
    if kind <= 7 {
        out.push(kind << 5 | short);
    } else {
        out.extend_from_slice(&[short, kind - 7]);
    }
    out.extend(more);
}
