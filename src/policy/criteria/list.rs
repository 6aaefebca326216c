//! `list`: address lists the operator configures, such as `hosting` or `anonymous`.

use super::Names;
use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::diagnostic::{Diagnostic, nearest, quoted};
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use std::sync::Arc;

/// On one of these lists. Most policies ask for the opposite: `not = { list = "hosting" }`.
#[derive(Debug)]
pub struct Lists(Box<[Arc<str>]>);

impl Lists {
    pub fn lower(value: Value<'_>, names: Names<'_>) -> Option<Self> {
        let lists = value.one_or_more(|name| known(name, names.lists))?;
        Some(Self(lists.into()))
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        let asked = self.0.iter().map(|name| {
            let on_list = evidence.network.on_list(name);
            Judgement::of(&on_list, Reason::ListAbsent, |on_list| match on_list {
                true => Judgement::met(Reason::ListOn, Seen::Text(Arc::clone(name))),
                false => Judgement::unmet(Reason::ListOff, Seen::Nothing),
            })
        });
        asked.reduce(|one, other| one.or(|| other)).unwrap_or(Judgement::unknown(Reason::ListAbsent))
    }
}

/// The configured list that `name` names.
pub fn known(name: Value<'_>, lists: &[Arc<str>]) -> Option<Arc<str>> {
    let text = name.name()?;
    if let Some(list) = lists.iter().find(|list| ***list == *text) {
        return Some(Arc::clone(list));
    }
    let known: Vec<&str> = lists.iter().map(|list| &**list).collect();
    let fault =
        Diagnostic::error(name.place(), format!("no list is called `{text}`")).label("not in the configuration");
    name.report(match nearest(text, known.iter().copied()) {
        Some(near) => fault.suggest(name.place(), format!("\"{near}\"")),
        None if known.is_empty() => fault.help("the configuration has no lists: add `[[list]]` with a name and a path"),
        None => fault.help(format!("configured: {}", quoted(&known))),
    });
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn on_any_of_the_lists() {
        let that = "{ list = ['hosting', 'anonymous'] }";
        assert_eq!(judge(that, "lists = ['anonymous']"), (Met, "list-on"));
        assert_eq!(judge(that, "lists = []"), (Unmet, "list-off"));
        assert_eq!(judge(that, ""), (Unknown, "list-absent"));
        assert_eq!(judge(that, "unavailable = ['lists']"), (Unknown, "list-unavailable"));
    }

    #[test]
    fn only_lists_that_are_configured() {
        assert_eq!(faults("{ list = 'hosting' }"), "no list is called `hosting`\n");
    }
}
