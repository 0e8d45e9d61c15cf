//! Reads one node of the configuration and remembers what was asked for.
//!
//! The vocabulary is what the reader asks for: when a [`Cursor`] is finished, every property and child that nobody
//! asked for is LNG-001 with the nearest spelling among those that somebody did. A value of the wrong shape is
//! LNG-005, a missing one that is required LNG-004; reading goes on with a stand-in so that one run finds everything.

use super::{Context, spelling};
use crate::diag::Finding;
use crate::dts::{Node, NodeIndex, Property, UNRESOLVED};
use crate::rules::language::{LNG_001, LNG_002, LNG_003, LNG_004, LNG_005, LNG_008};
use crate::span::{AddressRange, Span, Spanned};
use std::collections::BTreeSet;

/// One reference of a property and what it leads to.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    /// The `&label`.
    pub span: Span,
    /// The node; `None` if it names nothing.
    pub node: Option<NodeIndex>,
}

/// A node being read.
pub struct Cursor<'c, 't> {
    /// The tree, the findings so far and the indices of named things.
    pub context: &'c mut Context<'t>,
    /// The node.
    pub node: NodeIndex,
    properties: Asked,
    children: Asked,
    any_child: bool,
}

/// Names that somebody asked for, in one text: most nodes have nothing else, and then nobody looks at it again.
struct Asked(String);

impl Asked {
    /// What no name contains.
    const END: char = '\n';

    fn new() -> Asked {
        Asked(String::with_capacity(256))
    }

    /// Adds a name, given in parts.
    fn insert(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.0.push_str(part));
        self.0.push(Self::END);
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator(Self::END)
    }

    fn contains(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    fn sorted(&self) -> BTreeSet<&str> {
        self.names().collect()
    }
}

const UNITS: [(&str, u64); 3] = [("ns", 1), ("us", 1_000), ("ms", 1_000_000)];

impl<'c, 't> Cursor<'c, 't> {
    /// Starts reading `node`.
    pub fn new(context: &'c mut Context<'t>, node: NodeIndex) -> Self {
        let mut properties = Asked::new();
        properties.insert(&["bulkhead,accept"]);
        properties.insert(&["phandle"]);
        Cursor { context, node, properties, children: Asked(String::new()), any_child: false }
    }

    /// Place of the node's name.
    pub fn span(&self) -> Span {
        self.context.tree.nodes[self.node].span
    }

    /// Name of the node.
    pub fn name(&self) -> Spanned<String> {
        Spanned::new(self.context.tree.nodes[self.node].name.clone(), self.span())
    }

    fn property(&mut self, name: &str) -> Option<&'t Property> {
        self.properties.insert(&[name]);
        self.context.tree.nodes[self.node].property(name)
    }

    fn wrong_shape(&mut self, property: &Property, expected: &str) {
        self.doubt(&property.name);
        // A blob has no text: its listing shows the value.
        let text = match self.context.sources.text(property.span) {
            "" => &*property.name,
            text => text,
        };
        let finding = Finding::new(
            &LNG_005,
            format!("`{}` has the wrong shape", property.name),
            property.span,
            "this value",
        )
        .found(text.trim_end_matches(';').to_owned())
        .expected(expected);
        self.context.report(finding);
    }

    /// Notes that `word` of this node is not taken as it stands: a finding says why.
    pub fn doubt(&mut self, word: &str) {
        self.context.doubts.add(self.node, word);
    }

    /// Reports that the property or child `name` is required and not there.
    pub fn missing(&mut self, name: &str, expected: &str) {
        self.doubt(name);
        let node = &self.context.tree.nodes[self.node];
        let message = format!("`{}` lacks `{name}`", if node.name.is_empty() { "/" } else { &node.name });
        let finding = Finding::new(&LNG_004, message, node.span, format!("needs `{name}`"))
            .found(format!("no `{name}`"))
            .expected(expected)
            .fix(format!("add `{name}` here"));
        self.context.report(finding);
    }

    /// LNG-008: `name` has no effect without `companion`.
    pub fn without_companion(&mut self, name: &str, span: Span, companion: &str) {
        let message = format!("`{name}` has no effect without `{companion}`");
        let finding = Finding::new(&LNG_008, message, span, "has no effect")
            .also(self.span(), format!("no `{companion}` here"))
            .found(format!("`{name}` alone"))
            .expected(format!("`{companion}` beside it"));
        self.context.report(finding);
    }

    /// A boolean property.
    pub fn flag(&mut self, name: &str) -> Option<Span> {
        let property = self.property(name)?;
        if !property.value.is_empty() {
            self.wrong_shape(property, &format!("{name}; without a value"));
        }
        Some(property.span)
    }

    /// All cells of a property.
    pub fn cells(&mut self, name: &str) -> Option<Spanned<Vec<u32>>> {
        self.cells_as(name, &format!("{name} = <NUMBER ...>;"))
    }

    /// All cells of a property that should look like `expected`.
    pub fn cells_as(&mut self, name: &str, expected: &str) -> Option<Spanned<Vec<u32>>> {
        let property = self.property(name)?;
        match property.cells() {
            Some(cells) if !cells.is_empty() => Some(Spanned::new(cells, property.span)),
            _ => {
                self.wrong_shape(property, expected);
                None
            }
        }
    }

    /// One cell.
    pub fn number(&mut self, name: &str) -> Option<Spanned<u32>> {
        let property = self.property(name)?;
        match property.exactly() {
            Some([value]) => Some(Spanned::new(value, property.span)),
            _ => {
                self.wrong_shape(property, &format!("{name} = <NUMBER>; one number of 32 bits"));
                None
            }
        }
    }

    /// One cell that must be there.
    pub fn need_number(&mut self, name: &str, stand_in: u32) -> Spanned<u32> {
        let present = self.property(name).is_some();
        let value = self.number(name);
        if !present {
            self.missing(name, &format!("{name} = <NUMBER>;"));
        }
        value.unwrap_or_else(|| Spanned::new(stand_in, self.span()))
    }

    /// One cell above zero.
    pub fn positive(&mut self, name: &str) -> Option<Spanned<u32>> {
        let number = self.number(name)?;
        if number.value == 0 {
            self.zero(name, number.span, "a number above zero");
            return None;
        }
        Some(number)
    }

    /// One cell above zero that must be there.
    pub fn need_positive(&mut self, name: &str) -> Spanned<u32> {
        let present = self.property(name).is_some();
        if !present {
            self.missing(name, &format!("{name} = <NUMBER>;"));
        }
        self.positive(name).unwrap_or_else(|| Spanned::new(1, self.span()))
    }

    fn zero(&mut self, name: &str, span: Span, expected: &str) {
        self.doubt(name);
        let message = format!("`{name}` is zero");
        let finding = Finding::new(&LNG_003, message, span, "zero has no meaning here")
            .found("0")
            .expected(expected)
            .fix("give the number, or leave the property out if it is optional");
        self.context.report(finding);
    }

    /// Two cells: one number of 64 bits.
    pub fn wide(&mut self, name: &str) -> Option<Spanned<u64>> {
        let property = self.property(name)?;
        match property.exactly() {
            Some([high, low]) => Some(Spanned::new(join(high, low), property.span)),
            _ => {
                self.wrong_shape(property, &format!("{name} = <HIGH LOW>; one number in two cells"));
                None
            }
        }
    }

    /// Pairs of two cells each, at least one.
    pub fn wides(&mut self, name: &str) -> Option<Spanned<Vec<u64>>> {
        let property = self.property(name)?;
        match property.cells() {
            Some(cells) if !cells.is_empty() && cells.len().is_multiple_of(2) => {
                let values = cells.chunks_exact(2).map(|c| join(c[0], c[1])).collect();
                Some(Spanned::new(values, property.span))
            }
            _ => {
                self.wrong_shape(property, &format!("{name} = <HIGH LOW ...>; two cells for each number"));
                None
            }
        }
    }

    /// Address and size of two cells each, at least one pair.
    pub fn ranges(&mut self, name: &str) -> Option<Spanned<Vec<AddressRange>>> {
        let property = self.property(name)?;
        match property.cells() {
            Some(cells) if !cells.is_empty() && cells.len().is_multiple_of(4) => {
                let range = |c: &[u32]| AddressRange::new(join(c[0], c[1]), join(c[2], c[3]));
                Some(Spanned::new(cells.chunks_exact(4).map(range).collect(), property.span))
            }
            _ => {
                let shape = format!(
                    "{name} = <ADDRESS-HIGH ADDRESS-LOW SIZE-HIGH SIZE-LOW ...>; four cells for each range"
                );
                self.wrong_shape(property, &shape);
                None
            }
        }
    }

    /// One address and size.
    pub fn one_range(&mut self, name: &str) -> Option<Spanned<AddressRange>> {
        let property = self.property(name)?;
        match property.exactly() {
            Some([a, b, c, d]) => {
                let range = AddressRange::new(join(a, b), join(c, d));
                Some(Spanned::new(range, property.span))
            }
            _ => {
                let shape = "<ADDRESS-HIGH ADDRESS-LOW SIZE-HIGH SIZE-LOW>; one range of four cells";
                self.wrong_shape(property, &format!("{name} = {shape}"));
                None
            }
        }
    }

    /// All strings of a property.
    pub fn texts(&mut self, name: &str) -> Option<Spanned<Vec<String>>> {
        let property = self.property(name)?;
        match property.texts() {
            Some(texts) if !texts.is_empty() => {
                Some(Spanned::new(texts.into_iter().map(str::to_owned).collect(), property.span))
            }
            _ => {
                self.wrong_shape(property, &format!("{name} = \"TEXT\", ...;"));
                None
            }
        }
    }

    /// One string.
    pub fn text(&mut self, name: &str) -> Option<Spanned<String>> {
        let property = self.property(name)?;
        match property.texts().as_deref() {
            Some([text]) => Some(Spanned::new((*text).to_owned(), property.span)),
            _ => {
                self.wrong_shape(property, &format!("{name} = \"TEXT\";"));
                None
            }
        }
    }

    /// One word of a list.
    pub fn word<T>(
        &mut self,
        name: &str,
        known: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let text = self.text(name)?;
        self.parse_word(name, &text, known, &parse)
    }

    /// Several words of a list.
    pub fn words<T>(
        &mut self,
        name: &str,
        known: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<Spanned<T>> {
        let texts = self.texts(name);
        let parsed = texts.iter().flat_map(|t| t.value.iter().map(|text| Spanned::new(text.clone(), t.span)));
        let parsed: Vec<_> = parsed.collect();
        parsed.iter().filter_map(|text| self.parse_word(name, text, known, &parse)).collect()
    }

    fn parse_word<T>(
        &mut self,
        name: &str,
        text: &Spanned<String>,
        known: &[&str],
        parse: &impl Fn(&str) -> Option<T>,
    ) -> Option<Spanned<T>> {
        if let Some(value) = parse(text) {
            return Some(Spanned::new(value, text.span));
        }
        self.doubt(name);
        let message = format!("`{}` is no value of `{name}`", text.value);
        let finding = Finding::new(&LNG_001, message, text.span, "unknown value")
            .found(format!("\"{}\"", text.value))
            .expected(known.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", "));
        let finding = match spelling::nearest(text, known.iter().copied()) {
            Some(word) => finding.fix(format!("write \"{word}\"")),
            None => finding,
        };
        self.context.report(finding);
        None
    }

    /// A duration in exactly one of `-ns`, `-us`, `-ms`; zero is refused.
    pub fn duration(&mut self, stem: &str) -> Option<Spanned<u64>> {
        let duration = self.instant(stem)?;
        if duration.value == 0 {
            self.zero(stem, duration.span, "a duration above zero");
        }
        Some(duration)
    }

    /// Like [`Self::duration`], but zero is a value like others (an offset, a start).
    pub fn instant(&mut self, stem: &str) -> Option<Spanned<u64>> {
        let list = self.durations(stem)?;
        if list.len() != 1 {
            self.doubt(stem);
            let finding =
                Finding::new(&LNG_005, format!("`{stem}` has the wrong shape"), list.span, "one number")
                    .found(format!("{} numbers", list.len()))
                    .expected(format!("{stem}-us = <NUMBER>;"));
            self.context.report(finding);
        }
        Some(Spanned::new(list.value[0], list.span))
    }

    /// A duration that must be there.
    pub fn need_duration(&mut self, stem: &str) -> Spanned<u64> {
        let found = self.duration(stem);
        self.or_missing(stem, found)
    }

    /// An instant that must be there.
    pub fn need_instant(&mut self, stem: &str) -> Spanned<u64> {
        let found = self.instant(stem);
        self.or_missing(stem, found)
    }

    fn or_missing(&mut self, stem: &str, found: Option<Spanned<u64>>) -> Spanned<u64> {
        let node = &self.context.tree.nodes[self.node];
        let present = UNITS.iter().any(|(unit, _)| in_unit(node, stem, unit).is_some());
        if !present {
            self.missing(&format!("{stem}-us"), &format!("one of {stem}-ns, {stem}-us, {stem}-ms"));
        }
        found.unwrap_or_else(|| Spanned::new(1_000_000, self.span()))
    }

    /// A list of durations in one unit, nanoseconds; never empty.
    pub fn durations(&mut self, stem: &str) -> Option<Spanned<Vec<u64>>> {
        let mut found: Option<Spanned<Vec<u64>>> = None;
        for (unit, factor) in UNITS {
            self.properties.insert(&[stem, "-", unit]);
            let Some(property) = in_unit(&self.context.tree.nodes[self.node], stem, unit) else { continue };
            let Some(cells) = self.cells(&property.name) else { continue };
            if let Some(first) = &found {
                self.doubt(stem);
                let message = format!("`{stem}` is given in two units");
                let finding = Finding::new(&LNG_003, message, cells.span, "second")
                    .also(first.span, "first")
                    .found("two durations")
                    .expected(format!("one of {stem}-ns, {stem}-us, {stem}-ms"))
                    .fix("remove one of the two");
                self.context.report(finding);
                continue;
            }
            found =
                Some(Spanned::new(cells.value.iter().map(|c| u64::from(*c) * factor).collect(), cells.span));
        }
        found
    }

    /// The references of a property.
    pub fn references(&mut self, name: &str) -> Vec<Reference> {
        let Some(property) = self.property(name) else {
            return Vec::new();
        };
        let phandles = match property.cells() {
            Some(cells) if !cells.is_empty() => cells,
            _ => {
                self.wrong_shape(property, &format!("{name} = <&LABEL ...>;"));
                return Vec::new();
            }
        };
        let places = crate::dtc::references_in(self.context.sources, property.span);
        let mut out = Vec::new();
        for (at, phandle) in phandles.iter().enumerate() {
            let span = if places.len() == phandles.len() { places[at] } else { property.span };
            let node = self.context.tree.by_phandle(*phandle);
            if node.is_none() {
                self.doubt(name);
            }
            if node.is_none() && *phandle != UNRESOLVED {
                let finding =
                    Finding::new(&LNG_002, format!("`{name}` names nothing"), span, "not a reference")
                        .found(format!("<{phandle:#x}>"))
                        .expected("references alone: <&LABEL ...>")
                        .fix(match phandles.len() {
                            1 => format!("write {name} = <&LABEL>; with the label of the node that is meant"),
                            _ => "remove the number: what there is to say about a reference stands elsewhere"
                                .to_owned(),
                        });
                self.context.report(finding);
            }
            out.push(Reference { span, node });
        }
        out
    }

    /// The child `name`.
    pub fn child(&mut self, name: &str) -> Option<NodeIndex> {
        self.children.insert(&[name]);
        self.context.tree.child(self.node, name)
    }

    /// All children, whose names are the user's choice.
    pub fn named_children(&mut self) -> Vec<NodeIndex> {
        self.any_child = true;
        self.context.tree.nodes[self.node].children.clone()
    }

    /// Reports everything that nobody asked for.
    pub fn finish(self) {
        let Cursor { context, node, properties, children, any_child } = self;
        let tree = context.tree;
        for property in tree.nodes[node].properties.iter().filter(|p| !properties.contains(&p.name)) {
            context.unknown("property", &property.name, node, property.span, &properties.sorted());
        }
        let unknown_children = tree.nodes[node].children.iter().filter(|_| !any_child);
        for child in unknown_children.map(|c| &tree.nodes[*c]).filter(|c| !children.contains(&c.name)) {
            context.unknown("node", &child.name, node, child.span, &children.sorted());
        }
    }
}

/// The duration called `stem` in `unit`.
fn in_unit<'t>(node: &'t Node, stem: &str, unit: &str) -> Option<&'t Property> {
    let is = |p: &&Property| p.name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-')) == Some(unit);
    node.properties.iter().rev().find(is)
}

impl Context<'_> {
    /// LNG-001 about a property or child of `node`; what it was probably meant to be is in doubt.
    pub fn unknown(&mut self, kind: &str, name: &str, node: NodeIndex, span: Span, known: &BTreeSet<&str>) {
        let message = format!("`{name}` is not a {kind} of {}", self.tree.path(node));
        let finding = Finding::new(&LNG_001, message, span, format!("unknown {kind}")).found(name);
        let words: Vec<&str> = known.iter().copied().filter(|word| *word != "phandle").collect();
        let finding = match words.as_slice() {
            [] => finding.expected(format!("no {kind} here")),
            _ => finding.expected(words.join(", ")),
        };
        let finding = match spelling::nearest(name, words.into_iter()) {
            Some(word) => {
                self.doubts.add(node, word);
                finding.fix(format!("write `{word}`"))
            }
            None => finding.fix("remove it, or write the name that the reference page gives"),
        };
        self.report(finding);
    }
}

/// Joins two cells.
pub fn join(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}
