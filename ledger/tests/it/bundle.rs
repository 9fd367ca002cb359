//! Receipts and their proof bundles: a good one is accepted by anyone who knows the key, a changed one by nobody.

use crate::sample::{ORIGIN, append, signer};
use prunella_ledger::{Ledger, LedgerError, ProofBundle, ProofError, Signer, attest, receipt_body};
use prunella_schemas::plan::{EvidenceKind, Marks, PlanState};
use prunella_schemas::receipt::LatencyBudget;
use prunella_schemas::{Id, Message, Receipt, Step, Timestamp};
use serde_json::{Value, json};

fn receipt() -> Receipt {
    let mut receipt =
        Receipt { class_uid: 7001, severity_id: 1, message: "tokens revoked".into(), ..Receipt::default() };
    receipt.time = Timestamp(1_700_000_009_000);
    let facts = &mut receipt.prunella;
    facts.receipt_uid = Id::derive("receipt", &[b"1"]);
    facts.principal = "arn:aws:iam::111122223333:user/eve".into();
    facts.finding_uids = vec![Id::derive("finding", &[b"1"]), Id::derive("finding", &[b"2"])];
    facts.steps = vec![Step {
        provider: "prunella".into(),
        operation: "tokens.set_not_before".into(),
        target: facts.principal.clone(),
        desired: json!({"not_before": 1_700_000_005_000i64, "weight": 0.25, "note": "a\n\"b\""}),
        prior: Some(json!({"not_before": 0})),
    }];
    facts.state = Some(PlanState::Verified);
    facts.evidence = Some(EvidenceKind::RefusedCall);
    facts.contained = true;
    facts.marks = Marks { ingested: Timestamp(1), detected: Timestamp(5), ..Marks::default() };
    facts.latency = LatencyBudget::of(&facts.marks);
    receipt
}

/// A bundle for entry 5 of 11, and the receipt in it.
fn bundle() -> (ProofBundle, Receipt) {
    let mut ledger = Ledger::new(ORIGIN).unwrap();
    (0..5).for_each(|number| drop(append(&mut ledger, number)));
    let receipt = receipt();
    let entry = ledger.append(receipt.time, "receipt", receipt.id(), receipt_body(&receipt).unwrap());
    (6..11).for_each(|number| drop(append(&mut ledger, number)));
    let signer = signer();
    let receipt = attest(receipt, &entry, ledger.origin(), signer.verifier()).unwrap();
    let proof = ledger.prove(entry.index).unwrap();
    let checkpoint = ledger.checkpoint(&signer).unwrap();
    (ProofBundle::new(&receipt, &entry, proof, checkpoint, signer.verifier()).unwrap(), receipt)
}

fn accepted(json: &Value) -> bool {
    serde_json::from_value::<ProofBundle>(json.clone()).is_ok_and(|b| b.verify(signer().verifier()).is_ok())
}

/// The pointers of all values in `json`, leaves and inner ones.
fn pointers(json: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match json {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), out));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| pointers(value, &format!("{at}/{i}"), out));
        }
        _ => {}
    }
}

/// Other values in the place of `value`, each of a likely kind.
fn replacements(value: &Value) -> Vec<Value> {
    let mut out = vec![Value::Null, json!({}), json!([]), json!("x"), json!(7), json!(true)];
    match value {
        Value::Bool(b) => out.push(json!(!b)),
        Value::Number(n) => {
            out.extend([json!(n.as_f64().unwrap_or(0.0) + 0.5), json!(n.as_i64().unwrap_or(0) + 1)]);
        }
        Value::String(s) => {
            let mut last = s.clone();
            last.pop();
            out.extend([
                json!(format!("{s} ")),
                json!(s.to_uppercase()),
                json!(s.to_lowercase()),
                json!(last),
                json!(""),
            ]);
        }
        Value::Array(items) => {
            out.push(Value::Array(items.iter().chain(items.last()).cloned().collect()));
            out.push(Value::Array(items.iter().rev().cloned().collect()));
            out.push(Value::Array(items.iter().skip(1).cloned().collect()));
        }
        Value::Object(fields) => {
            let with = fields.clone().into_iter().chain([("added".to_owned(), json!(1))]);
            out.push(Value::Object(with.collect()));
            for name in fields.keys() {
                out.push(Value::Object(fields.clone().into_iter().filter(|(n, _)| n != name).collect()));
            }
        }
        Value::Null => {}
    }
    out.retain(|new| new != value);
    out
}

#[test]
fn a_good_bundle_is_accepted_in_every_form() {
    let (bundle, receipt) = bundle();
    assert_eq!(bundle.verify(signer().verifier()), Ok(()));
    let attestation = receipt.attestation.clone().unwrap();
    assert_eq!((attestation.index, attestation.chain_uid.as_str()), (5, ORIGIN));
    assert_eq!(serde_json::from_value::<Receipt>(bundle.receipt.clone()).unwrap(), receipt);
    for text in [serde_json::to_string(&bundle).unwrap(), serde_json::to_string_pretty(&bundle).unwrap()] {
        let read: ProofBundle = serde_json::from_str(&text).unwrap();
        assert_eq!(read, bundle);
        assert_eq!(read.verify(signer().verifier()), Ok(()));
    }
}

#[test]
fn no_field_of_a_bundle_can_change() {
    let json = serde_json::to_value(bundle().0).unwrap();
    assert!(accepted(&json));
    let mut all = Vec::new();
    pointers(&json, "", &mut all);
    let mut tried = 0;
    for pointer in &all {
        for new in replacements(json.pointer(pointer).unwrap()) {
            let mut changed = json.clone();
            *changed.pointer_mut(pointer).unwrap() = new;
            assert!(!accepted(&changed), "{pointer} became {}", changed.pointer(pointer).unwrap());
            tried += 1;
        }
    }
    assert!(all.len() > 60 && tried > 400, "{tried} changes of {} fields", all.len());
}

#[test]
fn no_bit_of_a_bundle_can_change() {
    let text = serde_json::to_string(&bundle().0).unwrap().into_bytes();
    let verifier = signer().verifier().clone();
    for bit in 0..text.len() * 8 {
        let mut changed = text.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let accepted =
            serde_json::from_slice::<ProofBundle>(&changed).is_ok_and(|b| b.verify(&verifier).is_ok());
        assert!(!accepted, "bit {bit}: {}", String::from_utf8_lossy(&changed));
    }
}

#[test]
fn each_refusal_says_what_is_wrong() {
    let (good, _) = bundle();
    let verifier = signer().verifier().clone();
    let refusal = |change: &dyn Fn(&mut ProofBundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        bundle.verify(&verifier).unwrap_err()
    };
    let other = Signer::from_seed(ORIGIN, &[8; 32]).unwrap();
    assert!(matches!(refusal(&|b| b.verifier_key = other.verifier().to_string()), ProofError::OtherKey(_)));
    assert!(matches!(good.verify(other.verifier()), Err(ProofError::OtherKey(_))));
    assert!(matches!(refusal(&|b| b.checkpoint.insert(0, 'x')), ProofError::Signature(_)));
    assert!(matches!(refusal(&|b| b.checkpoint.clear()), ProofError::Malformed(LedgerError::Note(_))));
    assert!(matches!(refusal(&|b| b.entry.body.push(b' ')), ProofError::Merkle(_)));
    assert!(matches!(refusal(&|b| b.inclusion.clear()), ProofError::Merkle(_)));
    assert_eq!(refusal(&|b| b.receipt["prunella"]["contained"] = json!(false)), ProofError::Receipt);
    assert_eq!(refusal(&|b| b.receipt["attestation"]["index"] = json!(6)), ProofError::Attestation("index"));
    assert_eq!(refusal(&|b| b.receipt = json!([])), ProofError::Attestation("attestation"));
}

#[test]
fn an_entry_attests_only_its_own_receipt() {
    let mut ledger = Ledger::new(ORIGIN).unwrap();
    let entry = append(&mut ledger, 0);
    let verifier = signer().verifier().clone();
    assert_eq!(attest(receipt(), &entry, ORIGIN, &verifier), Err(LedgerError::OtherReceipt(0)));
    let bundle = ProofBundle::new(&receipt(), &entry, vec![], String::new(), &verifier);
    assert_eq!(bundle.unwrap_err(), LedgerError::OtherReceipt(0));
    assert_eq!(ledger.prove(1), Err(LedgerError::NoSuchEntry { index: 1, size: 1 }));
    let attested = Receipt { attestation: Some(Default::default()), ..receipt() };
    assert_eq!(receipt_body(&attested), receipt_body(&receipt()), "the attestation is never hashed");
}
