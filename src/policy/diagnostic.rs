//! A fault in a source, with its place: what is wrong, where, and what to do about it.
//!
//! Every lowerer collects diagnostics and goes on, so that an author sees all faults of all files at once.

use super::source::{Source, unseen};
use annotate_snippets::{AnnotationKind, Element, Level, Origin, Patch, Renderer, Snippet};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

/// A stretch of one source, in bytes. An empty file name means the fault has no place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub file: Arc<str>,
    pub start: usize,
    pub end: usize,
}

impl Place {
    pub fn new(file: &Arc<str>, span: Range<usize>) -> Self {
        Self { file: Arc::clone(file), start: span.start, end: span.end }
    }

    /// A file as a whole: it cannot be read, or nothing in it is to blame.
    pub fn file(name: impl Into<Arc<str>>) -> Self {
        Self { file: name.into(), start: 0, end: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The sources cannot be used.
    Error,
    /// They can, but probably do not say what is meant.
    Warning,
}

/// Text to put in the place of what the author wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    pub place: Place,
    pub replacement: String,
}

/// One fault. `message` says what is wrong, `label` stands under the underlined words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub place: Place,
    pub message: String,
    pub label: String,
    /// Boxed, so that a `Result` with a diagnostic stays small.
    pub more: Box<More>,
}

/// What a fault may have beside its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct More {
    pub suggestion: Option<Suggestion>,
    pub help: Vec<String>,
    pub notes: Vec<String>,
    /// Other places that belong to the fault, each with its label: the first definition of a duplicate.
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, place, message.into())
    }

    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, place, message.into())
    }

    fn new(severity: Severity, place: Place, message: String) -> Self {
        Self { severity, place, message, label: String::new(), more: Box::default() }
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// A remedy in words.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.more.help.push(help.into());
        self
    }

    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.more.notes.push(note.into());
        self
    }

    #[must_use]
    pub fn related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.more.related.push((place, label.into()));
        self
    }

    /// "Did you mean `replacement`" in the place of what was written.
    #[must_use]
    pub fn suggest(mut self, place: Place, replacement: impl Into<String>) -> Self {
        self.more.suggestion = Some(Suggestion { place, replacement: replacement.into() });
        self
    }

    /// Suggests the one of `known` that `written` was probably meant to be; when none is near and there are few,
    /// lists them all.
    #[must_use]
    pub fn suggest_from<'k>(self, written: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match nearest(written, known.iter().copied()) {
            Some(near) => {
                let place = self.place.clone();
                self.suggest(place, near)
            }
            None if !known.is_empty() && known.len() <= 16 => self.help(format!("known: {}", quoted(&known))),
            None => self,
        }
    }

    /// Says of what was written that there is something in it that cannot be seen.
    #[must_use]
    pub fn naming_unseen(self, written: &str) -> Self {
        match unseen::slip(written) {
            Some(slip) => self.note(format!("it holds {slip}")),
            None => self,
        }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `file:line:column: message`, one line for machines; the place is left out as far as it is not known.
    pub fn line(&self, sources: &[Source]) -> String {
        let severity = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        let detail = if self.label.is_empty() { String::new() } else { format!(" ({})", self.label) };
        let place = match sources.iter().find(|source| source.name == self.place.file) {
            Some(source) => {
                let (line, column) = source.position(self.place.start);
                format!("{}:{line}:{column}: ", self.place.file)
            }
            None if self.place.file.is_empty() => String::new(),
            None => format!("{}: ", self.place.file),
        };
        format!("{place}{severity}{}{detail}", self.message)
    }
}

/// By file, then by place, errors before warnings at the same place.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| (&a.place, a.severity, &a.message).cmp(&(&b.place, b.severity, &b.message)));
}

pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(Diagnostic::is_error)
}

/// All diagnostics for people, in order of file and place, with the words underlined. Ends with a newline.
pub fn render(diagnostics: &[Diagnostic], sources: &[Source], color: bool) -> String {
    let by_name: BTreeMap<&str, &Source> = sources.iter().map(|source| (&*source.name, source)).collect();
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut sorted = diagnostics.to_vec();
    sort(&mut sorted);
    let mut out = String::new();
    for diagnostic in &sorted {
        let _ = writeln!(out, "{}\n", render_one(diagnostic, &by_name, &renderer));
    }
    out
}

/// All diagnostics for machines: one line each, in order of file and place.
pub fn lines(diagnostics: &[Diagnostic], sources: &[Source]) -> String {
    let mut sorted = diagnostics.to_vec();
    sort(&mut sorted);
    sorted.iter().map(|diagnostic| diagnostic.line(sources) + "\n").collect()
}

/// The one of `known` nearest to `written`, if it is near enough to be what was meant.
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const LONGEST: usize = 64;
    if written.is_empty() || written.len() > LONGEST {
        return None;
    }
    let folded = written.to_lowercase().replace('_', "-");
    let most = (folded.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| *candidate != written)
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `` `a`, `b`, `c` ``
pub fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn render_one(diagnostic: &Diagnostic, sources: &BTreeMap<&str, &Source>, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level.primary_title(diagnostic.message.as_str()).elements(snippets(diagnostic, sources));
    for help in &diagnostic.more.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    for note in &diagnostic.more.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    let mut report = vec![group];
    if let Some(Suggestion { place, replacement }) = &diagnostic.more.suggestion {
        let title = Level::HELP.secondary_title(format!("did you mean `{replacement}`"));
        if let Some(window) = sources.get(&*place.file).map(|source| Window::around(source, [place])) {
            let patch = Patch::new(window.span(place), replacement.as_str());
            report.push(title.element(window.snippet().patch(patch)));
        }
    }
    renderer.render(&report)
}

/// One snippet a file: the primary file first, then those of related places.
fn snippets<'a>(diagnostic: &'a Diagnostic, sources: &BTreeMap<&str, &'a Source>) -> Vec<Element<'a>> {
    let mut files = vec![&diagnostic.place.file];
    for (place, _) in &diagnostic.more.related {
        if !files.contains(&&place.file) {
            files.push(&place.file);
        }
    }
    let mut elements = Vec::new();
    for file in files {
        let here = |place: &&Place| place.file == *file;
        let places = std::iter::once(&diagnostic.place).chain(diagnostic.more.related.iter().map(|(place, _)| place));
        match sources.get(&**file) {
            None if file.is_empty() => {}
            None => elements.push(Origin::path(&**file).into()),
            Some(source) => {
                let window = Window::around(source, places.filter(here));
                let mut snippet = window.snippet();
                if here(&&diagnostic.place) {
                    let span = window.span(&diagnostic.place);
                    snippet = snippet.annotation(AnnotationKind::Primary.span(span).label(diagnostic.label.as_str()));
                }
                for (place, label) in diagnostic.more.related.iter().filter(|(place, _)| here(&place)) {
                    let span = window.span(place);
                    snippet = snippet.annotation(AnnotationKind::Context.span(span).label(label.as_str()));
                }
                elements.push(snippet.into());
            }
        }
    }
    elements
}

/// The lines of a source that a snippet shows. A source may be large: rendering looks at these lines only.
struct Window<'a> {
    source: &'a Source,
    lines: Range<usize>,
}

impl<'a> Window<'a> {
    fn around<'p>(source: &'a Source, places: impl IntoIterator<Item = &'p Place>) -> Self {
        let (mut start, mut end) = (usize::MAX, 0);
        for place in places {
            let span = source.clamp(place.start..place.end);
            start = start.min(span.start);
            end = end.max(span.end);
        }
        let text = &*source.text;
        let start = text.get(..start.min(end)).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let end = text.get(end..).and_then(|after| after.find('\n')).map_or(text.len(), |at| end + at);
        Self { source, lines: start..end.max(start) }
    }

    fn snippet<T: Clone>(&self) -> Snippet<'a, T> {
        let text = self.source.text.get(self.lines.clone()).unwrap_or_default();
        let (line, _) = self.source.position(self.lines.start);
        Snippet::source(text).line_start(line).path(&*self.source.name)
    }

    fn span(&self, place: &Place) -> Range<usize> {
        let span = self.source.clamp(place.start..place.end);
        let within = |at: usize| at.clamp(self.lines.start, self.lines.end) - self.lines.start;
        within(span.start)..within(span.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, start: usize, end: usize) -> Place {
        Place { file: file.into(), start, end }
    }

    #[test]
    fn a_fault_shows_its_line_the_words_and_the_remedy() {
        let source = Source::new("a.toml", "[[resource]]\nhots = [\"a.example\"]\n");
        let fault = Diagnostic::error(at("a.toml", 13, 17), "unknown key `hots`")
            .label("not a key of `resource`")
            .suggest_from("hots", ["hosts", "id"]);
        let text = render(std::slice::from_ref(&fault), std::slice::from_ref(&source), false);
        for part in ["error: unknown key `hots`", "a.toml:2:1", "^^^^ not a key of `resource`", "did you mean `hosts`"]
        {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert_eq!(fault.line(&[source]), "a.toml:2:1: unknown key `hots` (not a key of `resource`)");
    }

    #[test]
    fn faults_come_in_the_order_of_file_and_place() {
        let sources = [Source::new("b.toml", "x = 1\ny = 2\n"), Source::new("a.toml", "z = 3\n")];
        let faults = [
            Diagnostic::error(at("b.toml", 6, 7), "third"),
            Diagnostic::error(at("b.toml", 0, 1), "second"),
            Diagnostic::error(at("a.toml", 0, 1), "first"),
        ];
        assert_eq!(lines(&faults, &sources), "a.toml:1:1: first\nb.toml:1:1: second\nb.toml:2:1: third\n");
    }

    #[test]
    fn related_places_and_unknown_files_are_shown() {
        let sources = [Source::new("a.toml", "id = \"x\"\n"), Source::new("b.toml", "\n\nid = \"x\"\n")];
        let fault = Diagnostic::error(at("b.toml", 7, 10), "`x` is defined twice")
            .label("again here")
            .related(at("a.toml", 5, 8), "first here");
        let text = render(&[fault], &sources, false);
        assert!(text.contains("b.toml:3:6") && text.contains("first here"), "{text}");
        let missing = Diagnostic::error(Place::file("no/such.toml"), "cannot be read");
        assert!(render(&[missing], &sources, false).contains("no/such.toml"));
    }

    #[test]
    fn spans_outside_the_text_or_inside_a_character_do_no_harm() {
        let source = Source::new("a.toml", "é = 1");
        for (start, end) in [(1, 2), (0, 99), (50, 99), (4, 1), (6, 6)] {
            let fault = Diagnostic::warning(at("a.toml", start, end), "odd").suggest(at("a.toml", start, end), "x");
            assert!(render(&[fault], std::slice::from_ref(&source), false).contains("odd"));
        }
        let nothing = Source::new("empty.toml", "");
        assert!(render(&[Diagnostic::error(at("empty.toml", 0, 0), "empty")], &[nothing], true).contains("empty"));
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["listener", "limits", "too-near"];
        assert_eq!(nearest("listner", known), Some("listener"));
        assert_eq!(nearest("too_near", known), Some("too-near"));
        assert_eq!(nearest("audit", known), None);
    }
}
