//! Whether a wide schema admits all that a narrow one does, and where not.
//!
//! Sound, not complete: no gap means that there is none. Where schemas for one value stand inside
//! each other and no rule here decides, the gap is said to be undecided.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};

use super::gap::Gap;
use super::words;
use crate::bounds::{GAPS_MAX, PAIRS_MAX};
use crate::compiled::Schema;
use crate::compiled::node::{
    ArrayRules, InPlace, Kinds, Node, NodeId, NumberRules, ObjectRules, TextRules,
};
use crate::compiled::pattern::Pattern;
use crate::compiled::violation::escaped;

/// The gaps: what `narrow` admits and `wide` does not.
pub(super) fn gaps(wide: &Schema, narrow: &Schema) -> Vec<Gap> {
    let pair = Pair { wide, narrow };
    let mut seen = Seen::default();
    pair.nodes(&mut seen, Some(NodeId::ROOT), Some(NodeId::ROOT), "")
}

#[derive(Clone, Copy)]
struct Pair<'a> {
    wide: &'a Schema,
    narrow: &'a Schema,
}

type Nodes = (Option<NodeId>, Option<NodeId>);

/// What was compared. A pair that is met again inside itself is taken to have no gap: if it had
/// one, that would be found where it was met first. What was found by such an assumption is
/// forgotten with it.
#[derive(Default)]
struct Seen {
    assumed: HashSet<Nodes>,
    /// The same, in the order in which it was assumed.
    trail: Vec<Nodes>,
    compared: usize,
}

static ANYTHING: Node = Node::anything();

impl Pair<'_> {
    fn wide(&self, id: Option<NodeId>) -> &Node {
        id.map_or(&ANYTHING, |id| self.wide.node(id))
    }

    fn narrow(&self, id: Option<NodeId>) -> &Node {
        id.map_or(&ANYTHING, |id| self.narrow.node(id))
    }

    fn nodes(
        &self,
        seen: &mut Seen,
        wide_id: Option<NodeId>,
        narrow_id: Option<NodeId>,
        at: &str,
    ) -> Vec<Gap> {
        let (wide_id, narrow_id) = (self.wide.followed(wide_id), self.narrow.followed(narrow_id));
        let assumed = seen.trail.len();
        if !seen.assume((wide_id, narrow_id)) {
            return Vec::new();
        }
        seen.compared += 1;
        if seen.compared > PAIRS_MAX {
            return vec![undecided(at, "$ref", "more than is compared here")];
        }
        let mut gaps = self.alone(seen, wide_id, narrow_id, at);
        let narrow = self.narrow(narrow_id);
        if !gaps.is_empty() && !narrow.in_place.is_empty() {
            // What stands here alone admits more than all of it does.
            if self.is_narrowed(seen, wide_id, narrow, at) {
                gaps.clear();
            }
            gaps.iter_mut().for_each(|gap| gap.is_undecided = true);
        }
        if !gaps.is_empty() {
            seen.forget(assumed);
        }
        gaps.truncate(GAPS_MAX);
        gaps
    }

    /// Whether what looks at the same value as the narrow node leaves nothing that the wide one
    /// does not admit.
    fn is_narrowed(
        &self,
        seen: &mut Seen,
        wide_id: Option<NodeId>,
        narrow: &Node,
        at: &str,
    ) -> bool {
        let mut fits = |id: NodeId| self.nodes(seen, wide_id, Some(id), at).is_empty();
        narrow.in_place.iter().any(|rule| match rule {
            InPlace::All(one) => fits(*one),
            InPlace::Any(many) | InPlace::One(many) => many.iter().all(|one| fits(*one)),
            InPlace::Not(_) | InPlace::If { .. } => false,
        })
    }

    /// The gaps without what else looks at the same value on the narrow side.
    fn alone(
        &self,
        seen: &mut Seen,
        wide_id: Option<NodeId>,
        narrow_id: Option<NodeId>,
        at: &str,
    ) -> Vec<Gap> {
        let (wide, narrow) = (self.wide(wide_id), self.narrow(narrow_id));
        if narrow.kinds == Kinds::NONE {
            return Vec::new();
        }
        if let Some(values) = &narrow.values {
            return self.listed(values, wide_id, narrow_id, at);
        }
        let mut gaps = Vec::new();
        let beyond = narrow.kinds.without(wide.kinds);
        if beyond != Kinds::NONE {
            let keyword = if wide.kinds == Kinds::NONE { "false" } else { "type" };
            gaps.push(gap(at, keyword, words::kinds(wide.kinds), words::kinds(narrow.kinds)));
        }
        if let Some(values) = &wide.values {
            gaps.push(gap(at, "enum", words::values(Some(values)), words::kinds(narrow.kinds)));
        }
        let both = |kind: Kinds| wide.kinds.meets(kind) && narrow.kinds.meets(kind);
        if both(Kinds::NUMBER) {
            numbers(wide.number.as_deref(), narrow.number.as_deref(), at, &mut gaps);
        }
        if both(Kinds::TEXT) {
            texts(wide.text.as_deref(), narrow.text.as_deref(), at, &mut gaps);
        }
        if both(Kinds::ARRAY) {
            self.arrays(seen, wide.array.as_deref(), narrow.array.as_deref(), at, &mut gaps);
        }
        if both(Kinds::OBJECT) {
            self.objects(seen, wide.object.as_deref(), narrow.object.as_deref(), at, &mut gaps);
        }
        for rule in &wide.in_place {
            gaps.extend(self.also(seen, rule, narrow_id, at));
        }
        gaps
    }

    /// The gaps of a narrow node whose values are listed: each of them is tried.
    fn listed(
        &self,
        values: &[String],
        wide_id: Option<NodeId>,
        narrow_id: Option<NodeId>,
        at: &str,
    ) -> Vec<Gap> {
        let Some(wide_id) = wide_id else { return Vec::new() };
        let fits = |value: &String| {
            let is_admitted = narrow_id.is_none_or(|id| self.narrow.fits(id, value));
            !is_admitted || self.wide.fits(wide_id, value)
        };
        let beyond: Vec<String> = values.iter().filter(|value| !fits(value)).cloned().collect();
        if beyond.is_empty() {
            return Vec::new();
        }
        let wide = self.wide.node(wide_id);
        let demanded = match &wide.values {
            Some(values) => words::values(Some(values)),
            None => words::kinds(wide.kinds),
        };
        vec![gap(at, "enum", demanded, words::values(Some(&beyond)))]
    }

    /// The gaps of what looks at the same value on the wide side.
    fn also(
        &self,
        seen: &mut Seen,
        rule: &InPlace,
        narrow_id: Option<NodeId>,
        at: &str,
    ) -> Vec<Gap> {
        match rule {
            InPlace::All(one) => self.nodes(seen, Some(*one), narrow_id, at),
            InPlace::Any(many) => {
                let mut covers =
                    |one: &NodeId| self.nodes(seen, Some(*one), narrow_id, at).is_empty();
                match many.iter().any(&mut covers) {
                    true => Vec::new(),
                    false => vec![undecided(at, "anyOf", "no one alternative that has all of it")],
                }
            }
            InPlace::Not(one) => self.excluded(seen, *one, narrow_id, at),
            InPlace::One(many) => {
                let same = self.narrow(narrow_id).in_place.iter().any(|rule| match rule {
                    InPlace::One(others) => self.are_same(seen, many, others, at),
                    _ => false,
                });
                if same { Vec::new() } else { vec![undecided(at, "oneOf", "another oneOf")] }
            }
            InPlace::If { condition, then, otherwise } => {
                let mine = [Some(*condition), *then, *otherwise];
                let same = self.narrow(narrow_id).in_place.iter().any(|rule| match rule {
                    InPlace::If { condition, then, otherwise } => {
                        let theirs = [Some(*condition), *then, *otherwise];
                        mine.into_iter().zip(theirs).all(|(w, n)| self.is_same(seen, w, n, at))
                    }
                    _ => false,
                });
                if same { Vec::new() } else { vec![undecided(at, "if", "another condition")] }
            }
        }
    }

    /// What the wide side excludes is excluded by the narrow one too.
    fn excluded(
        &self,
        seen: &mut Seen,
        wide_not: NodeId,
        narrow_id: Option<NodeId>,
        at: &str,
    ) -> Vec<Gap> {
        let narrow = self.narrow(narrow_id);
        let forbidden = self.wide(Some(wide_not));
        if !forbidden.kinds.meets(narrow.kinds) {
            return Vec::new(); // no value of the narrow side is of a kind that is excluded
        }
        let mut covers =
            |narrow_not: NodeId| self.is_covered_turned(seen, Some(narrow_not), Some(wide_not), at);
        let excludes_as_much = narrow.in_place.iter().any(|rule| match rule {
            InPlace::Not(narrow_not) => covers(*narrow_not),
            _ => false,
        });
        if excludes_as_much { Vec::new() } else { vec![undecided(at, "not", "another exclusion")] }
    }

    fn are_same(&self, seen: &mut Seen, wide: &[NodeId], narrow: &[NodeId], at: &str) -> bool {
        let mut pairs = wide.iter().zip(narrow);
        wide.len() == narrow.len()
            && pairs.all(|(wide, narrow)| self.is_same(seen, Some(*wide), Some(*narrow), at))
    }

    /// Whether both admit the same.
    fn is_same(
        &self,
        seen: &mut Seen,
        wide: Option<NodeId>,
        narrow: Option<NodeId>,
        at: &str,
    ) -> bool {
        self.nodes(seen, wide, narrow, at).is_empty()
            && self.is_covered_turned(seen, narrow, wide, at)
    }

    /// Whether a node of the narrow schema admits all that one of the wide schema does. Nothing is
    /// assumed there; the bound is one for both.
    fn is_covered_turned(
        &self,
        seen: &mut Seen,
        narrow: Option<NodeId>,
        wide: Option<NodeId>,
        at: &str,
    ) -> bool {
        let mut turned = Seen { compared: seen.compared, ..Seen::default() };
        let other = Self { wide: self.narrow, narrow: self.wide };
        let is_covered = other.nodes(&mut turned, narrow, wide, at).is_empty();
        seen.compared = turned.compared;
        is_covered
    }

    fn arrays(
        &self,
        seen: &mut Seen,
        wide: Option<&ArrayRules>,
        narrow: Option<&ArrayRules>,
        at: &str,
        gaps: &mut Vec<Gap>,
    ) {
        let (none_wide, none_narrow) = (ArrayRules::default(), ArrayRules::default());
        let (wide, narrow) = (wide.unwrap_or(&none_wide), narrow.unwrap_or(&none_narrow));
        let members_max = narrow.max_items.unwrap_or(usize::MAX);
        let prefix = wide.prefix.len().max(narrow.prefix.len());
        for index in 0..prefix.min(members_max) {
            let at = format!("{at}/{index}");
            gaps.extend(self.nodes(seen, wide.member(index), narrow.member(index), &at));
        }
        if members_max > prefix {
            gaps.extend(self.nodes(seen, wide.items, narrow.items, &format!("{at}/*")));
        }
        counts(
            at,
            ("minItems", "maxItems", "members"),
            (wide.min_items, wide.max_items),
            (narrow.min_items, narrow.max_items),
            gaps,
        );
        if wide.is_unique && !narrow.is_unique {
            gaps.push(gap(at, "uniqueItems", "no member twice".into(), "equal members".into()));
        }
    }

    fn objects(
        &self,
        seen: &mut Seen,
        wide: Option<&ObjectRules>,
        narrow: Option<&ObjectRules>,
        at: &str,
        gaps: &mut Vec<Gap>,
    ) {
        let (none_wide, none_narrow) = (ObjectRules::default(), ObjectRules::default());
        let (wide, narrow) = (wide.unwrap_or(&none_wide), narrow.unwrap_or(&none_narrow));
        if !self.have_same_patterns(seen, wide, narrow, at) {
            gaps.push(undecided(at, "patternProperties", "other patterns"));
            return;
        }
        let names = wide.properties.iter().chain(&narrow.properties);
        for name in names.map(|property| &*property.name).collect::<BTreeSet<_>>() {
            let below = format!("{at}/{}", escaped(name));
            let (in_wide, in_narrow) = (described(wide, name), described(narrow, name));
            if wide.requires(name) && !narrow.requires(name) {
                let (demanded, admitted) = ("a property that is always there", "no such property");
                gaps.push(gap(&below, "required", demanded.into(), admitted.into()));
            }
            gaps.extend(self.property(seen, in_wide, in_narrow, &below));
        }
        gaps.extend(self.property(seen, wide.additional, narrow.additional, &format!("{at}/*")));
        if let Some(names) = wide.names
            && !self.nodes(seen, Some(names), narrow.names, at).is_empty()
        {
            gaps.push(gap(at, "propertyNames", "other names".into(), "more names".into()));
        }
        counts(
            at,
            ("minProperties", "maxProperties", "properties"),
            (wide.min_properties, wide.max_properties),
            (narrow.min_properties, narrow.max_properties),
            gaps,
        );
    }

    fn property(
        &self,
        seen: &mut Seen,
        wide: Option<NodeId>,
        narrow: Option<NodeId>,
        at: &str,
    ) -> Vec<Gap> {
        let mut gaps = self.nodes(seen, wide, narrow, at);
        for gap in gaps.iter_mut().filter(|gap| gap.pointer == at && gap.keyword == "false") {
            gap.keyword = "additionalProperties";
            gap.demanded = words::property(wide.map(|id| self.wide.node(id)));
            gap.admitted = words::property(narrow.map(|id| self.narrow.node(id)));
        }
        gaps
    }

    fn have_same_patterns(
        &self,
        seen: &mut Seen,
        wide: &ObjectRules,
        narrow: &ObjectRules,
        at: &str,
    ) -> bool {
        wide.patterns.len() == narrow.patterns.len()
            && wide.patterns.iter().all(|(pattern, wide)| {
                let other = narrow.patterns.iter().find(|(other, _)| other.text == pattern.text);
                other.is_some_and(|(_, narrow)| {
                    self.nodes(seen, Some(*wide), Some(*narrow), at).is_empty()
                })
            })
    }
}

impl Seen {
    /// Assumes that a pair has no gap; `false` if it is assumed already.
    fn assume(&mut self, pair: Nodes) -> bool {
        let is_new = self.assumed.insert(pair);
        if is_new {
            self.trail.push(pair);
        }
        is_new
    }

    /// Forgets all that was assumed since there were so many.
    fn forget(&mut self, since: usize) {
        for pair in self.trail.drain(since..) {
            self.assumed.remove(&pair);
        }
    }
}

impl ObjectRules {
    fn requires(&self, name: &str) -> bool {
        self.place(name, 0).is_some_and(|place| self.properties[place].is_required)
    }
}

/// What a property of this name must be, leaving patterns aside.
fn described(rules: &ObjectRules, name: &str) -> Option<NodeId> {
    let place = rules.place(name, 0);
    place.and_then(|place| rules.properties[place].schema).or(rules.additional)
}

fn numbers(
    wide: Option<&NumberRules>,
    narrow: Option<&NumberRules>,
    at: &str,
    gaps: &mut Vec<Gap>,
) {
    let (none_wide, none_narrow) = (NumberRules::default(), NumberRules::default());
    let (wide, narrow) = (wide.unwrap_or(&none_wide), narrow.unwrap_or(&none_narrow));
    for (keyword, side, wide, narrow, words) in [
        ("minimum", Ordering::Greater, &wide.minimum, &narrow.minimum, ("of at least", "above")),
        ("maximum", Ordering::Less, &wide.maximum, &narrow.maximum, ("of at most", "below")),
    ] {
        let is_covered = wide
            .as_ref()
            .is_none_or(|wide| narrow.as_ref().is_some_and(|narrow| wide.covers(narrow, side)));
        if !is_covered {
            let told = |bound: &Option<_>| words::bound(bound.as_ref(), words.0, words.1);
            gaps.push(gap(at, keyword, told(wide), told(narrow)));
        }
    }
    if let Some(unit) = wide.multiple_of
        && narrow.multiple_of.is_none_or(|narrow| narrow % unit != 0)
    {
        let admitted = narrow
            .multiple_of
            .map_or_else(|| "any number".to_owned(), |unit| format!("a multiple of {unit}"));
        gaps.push(gap(at, "multipleOf", format!("a multiple of {unit}"), admitted));
    }
}

fn texts(wide: Option<&TextRules>, narrow: Option<&TextRules>, at: &str, gaps: &mut Vec<Gap>) {
    let (none_wide, none_narrow) = (TextRules::default(), TextRules::default());
    let (wide, narrow) = (wide.unwrap_or(&none_wide), narrow.unwrap_or(&none_narrow));
    counts(
        at,
        ("minLength", "maxLength", "characters"),
        (wide.min_length, wide.max_length),
        (narrow.min_length, narrow.max_length),
        gaps,
    );
    if let Some(format) = wide.format
        && narrow.format != Some(format)
    {
        let admitted = narrow.format.map_or_else(
            || "any text".to_owned(),
            |format| format!("a text in the format {format}"),
        );
        gaps.push(gap(at, "format", format!("a text in the format {format}"), admitted));
    }
    if let Some(pattern) = &wide.pattern {
        let text = |pattern: &Pattern| pattern.text.to_string();
        let other = narrow.pattern.as_ref().map(text);
        if other.as_deref() != Some(&pattern.text) {
            let admitted = other.map_or_else(
                || "any text".to_owned(),
                |other| format!("a text that matches {other}"),
            );
            let demanded = format!("a text that matches {}", pattern.text);
            let is_undecided = narrow.pattern.is_some();
            gaps.push(Gap { is_undecided, ..gap(at, "pattern", demanded, admitted) });
        }
    }
}

/// The gaps of a least and a most.
fn counts(
    at: &str,
    (least, most, what): (&'static str, &'static str, &str),
    wide: (usize, Option<usize>),
    narrow: (usize, Option<usize>),
    gaps: &mut Vec<Gap>,
) {
    if narrow.0 < wide.0 {
        gaps.push(gap(at, least, words::least(wide.0, what), words::least(narrow.0, what)));
    }
    let unbounded = usize::MAX;
    if narrow.1.unwrap_or(unbounded) > wide.1.unwrap_or(unbounded) {
        gaps.push(gap(at, most, words::most(wide.1, what), words::most(narrow.1, what)));
    }
}

fn gap(at: &str, keyword: &'static str, demanded: String, admitted: String) -> Gap {
    Gap { pointer: at.to_owned(), keyword, demanded, admitted, is_undecided: false }
}

fn undecided(at: &str, keyword: &'static str, admitted: &str) -> Gap {
    let demanded = format!("what {keyword} demands");
    Gap { is_undecided: true, ..gap(at, keyword, demanded, admitted.to_owned()) }
}
