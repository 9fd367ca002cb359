//! `notify.slack`: a message to a Slack channel by an incoming webhook, when something is found, asked for, or contained.

use super::text::{LIST_MAX, TEXT_BYTES_MAX, cut};
use super::{Action, Case, DETECT, NotApplicable, Occasion, Steps, TARGETS_MAX, TokensRevoke};
use crate::Config;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use prunella_schemas::{Finding, Timestamp};
use serde_json::{Value, json};

pub struct NotifySlack;

impl Action for NotifySlack {
    fn name(&self) -> &'static str {
        "notify.slack"
    }

    fn reach(&self) -> Reach {
        Reach::Notify
    }

    fn occasions(&self) -> &'static [Occasion] {
        &[Occasion::Found, Occasion::Asked, Occasion::Held]
    }

    fn tactic(&self) -> u8 {
        DETECT
    }

    fn horizon_ms(&self) -> Option<i64> {
        None
    }

    fn targets(&self, _: &Finding, config: &Config) -> Vec<String> {
        config.receivers.slack.iter().take(TARGETS_MAX).cloned().collect()
    }

    fn needs(&self, _: &str) -> Vec<Read> {
        Vec::new()
    }

    fn calls(&self) -> Vec<(String, String)> {
        vec![("slack".to_owned(), "message.post".to_owned())]
    }

    fn plan(&self, case: &Case<'_>, _: &[TargetState]) -> Result<Steps, NotApplicable> {
        let step = Step {
            provider: "slack".to_owned(),
            operation: "message.post".to_owned(),
            target: case.target.to_owned(),
            desired: message(case),
            prior: None,
        };
        Ok(Steps { steps: vec![step], undo: Vec::new() })
    }

    fn returned(&self, finding: &Finding, done: Timestamp) -> bool {
        TokensRevoke.returned(finding, done)
    }
}

fn message(case: &Case<'_>) -> Value {
    let finding = case.finding;
    let principal = escape(finding.principal());
    let headline = match case.about {
        None => format!("*{}* {}", finding.severity, escape(&finding.finding_info.title)),
        Some((Occasion::Held, plan)) => format!("*{}* was carried out on {principal} and holds", plan.action),
        Some((_, plan)) => {
            let (action, plan) = (&plan.action, plan.uid);
            format!("*Approval needed*: {action} on {principal}\n`prunella plans show {plan}`")
        }
    };
    let mut lines = vec![headline, escape(&finding.message)];
    if case.about.is_none() {
        lines.push(format!("Who: {principal}"));
        lines.extend(finding.prunella.reasons.iter().take(LIST_MAX).map(|r| format!("• {}", escape(r))));
    }
    if case.suppressed > 0 {
        lines.push(format!("{} more were held back in the meantime.", case.suppressed));
    }
    let text = lines.join("\n");
    // `text` is what notifications and screen readers show; the block is what the channel shows.
    let block = json!({"type": "section", "text": {"type": "mrkdwn", "text": cut(&text, BLOCK_BYTES_MAX)}});
    json!({"text": cut(&text, BLOCK_BYTES_MAX), "blocks": [block], "unfurl_links": false})
}

/// Slack takes 3,000 characters in a block.
const BLOCK_BYTES_MAX: usize = 2_900;

/// Attackers write some of these texts: no mention, link or format of theirs may reach the channel.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in cut(text, TEXT_BYTES_MAX).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // They format, and a zero-width space before them keeps them from it.
            '*' | '_' | '~' | '`' => out.extend(['\u{200b}', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_attackers_cannot_mention_link_or_format() {
        for (text, want) in [
            ("<!channel> look", "&lt;!channel&gt; look"),
            ("<https://evil|here>", "&lt;https://evil|here&gt;"),
            ("a\n*b*", "a \u{200b}*b\u{200b}*"),
            ("x & y", "x &amp; y"),
        ] {
            assert_eq!(escape(text), want);
        }
    }
}
