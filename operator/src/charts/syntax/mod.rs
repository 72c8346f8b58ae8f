//! A quick way from the text of a template to what handlebars executes.
//!
//! handlebars reads a template through a general grammar, which takes longer for our charts than everything else that a
//! rendering does. The part of its language that they are written in is small: text, comments, values, calls, blocks
//! with `else`, and partials. This reads that part and gives what handlebars itself would give. All else, mistakes
//! included, is left to handlebars, so that it alone decides what a template may say.

mod call;

use std::sync::LazyLock;

use handlebars::template::{
    DecoratorTemplate, HelperTemplate, Parameter, Template, TemplateElement, TemplateMapping,
};
use handlebars::{Path, PathSeg, TemplateError};

/// Compiles a template as `Template::compile_with_name` does.
pub(super) fn compile(name: &str, text: &str) -> Result<Template, TemplateError> {
    match read(text) {
        Some(mut template) => {
            template.name = Some(name.to_owned());
            Ok(template)
        }
        None => Template::compile_with_name(text, name.to_owned()),
    }
}

/// Reads a template; none where it says something that only handlebars knows.
fn read(text: &str) -> Option<Template> {
    if text.contains('\r') {
        return None;
    }
    let mut reader = Reader {
        text,
        position: 0,
        counted: 0,
        line: 1,
        column: 1,
        is_after_own_line: false,
    };
    let (template, end) = reader.template()?;
    matches!(end, Tag::End).then_some(template)
}

/// What only handlebars can make: a place in a template, and the step to the root of the context. Everything else that is
/// needed is made of copies of these two.
static PATTERN: LazyLock<Option<(TemplateMapping, PathSeg)>> = LazyLock::new(|| {
    let place = Template::compile("-").ok()?.mapping.pop()?;
    match Path::parse("@root/x").ok()? {
        Path::Relative((segments, _)) => Some((place, segments.into_iter().next()?)),
        Path::Local(_) => None,
    }
});

struct Reader<'t> {
    text: &'t str,
    /// Where to read on.
    position: usize,
    /// The position of `line` and `column`.
    counted: usize,
    line: usize,
    column: usize,
    /// Whether the last tag stood alone on its line, so that the rest of that line goes with it.
    is_after_own_line: bool,
}

/// What a tag was.
enum Tag {
    /// An element of the template, which holds it now.
    Element,
    /// `{{else}}`.
    Else,
    /// `{{else if ..}}`: what has this branch.
    ElseIf(Box<HelperTemplate>),
    /// `{{/name}}`.
    Close(String),
    /// None: the text is at its end.
    End,
}

impl<'t> Reader<'t> {
    /// Reads up to a tag that ends a template or a branch of a block.
    fn template(&mut self) -> Option<(Template, Tag)> {
        let mut template = Template::new();
        loop {
            self.raw(&mut template)?;
            let start = self.position;
            let Some(tag) = self.rest().strip_prefix("{{") else {
                return Some((template, Tag::End));
            };
            self.position += 2;
            let tag = match tag.bytes().next()? {
                b'!' => self.comment(&mut template, start),
                b'#' => self.block(&mut template, start),
                b'>' => self.partial(&mut template, start),
                b'/' => self.closing(&mut template, start),
                b'{' | b'&' | b'*' | b'^' | b'~' => None,
                _ => self.value(&mut template, start),
            }?;
            if !matches!(tag, Tag::Element) {
                return Some((template, tag));
            }
        }
    }

    /// Text up to the next tag.
    fn raw(&mut self, template: &mut Template) -> Option<Tag> {
        let start = self.position;
        let rest = self.rest();
        let raw = &rest[..rest.find("{{").unwrap_or(rest.len())];
        if raw.ends_with('\\') {
            return None;
        }
        self.position += raw.len();
        let own_line = std::mem::take(&mut self.is_after_own_line);
        if raw.is_empty() {
            return Some(Tag::Element);
        }
        // handlebars takes white space at the front for a part of the grammar, except at the very front.
        let indent = if start == 0 {
            0
        } else {
            raw.len() - raw.trim_start_matches([' ', '\t', '\n']).len()
        };
        let mut kept = raw;
        if own_line {
            kept = kept.trim_start_matches([' ', '\t']);
            kept = kept.strip_prefix('\n').unwrap_or(kept);
        }
        let text = TemplateElement::RawString(kept.to_owned());
        self.push(template, text, start + indent)
    }

    fn comment(&mut self, template: &mut Template, start: usize) -> Option<Tag> {
        let rest = &self.text[start..];
        let (open, close) = if rest.starts_with("{{!--") {
            ("{{!--", "--}}")
        } else {
            ("{{!", "}}")
        };
        self.position = start + rest.find(close)? + close.len();
        self.own_line(template, start);
        let text = &self.text[start..self.position];
        let text = text.trim_start_matches(open).trim_end_matches(close);
        self.push(template, TemplateElement::Comment(text.to_owned()), start)
    }

    /// A value, a call, or an `else`.
    fn value(&mut self, template: &mut Template, start: usize) -> Option<Tag> {
        self.skip_space();
        let name = self.position;
        if self.word(is_symbol) == Some("else") {
            return self.inversion(template, start);
        }
        self.position = name;
        let call = self.call()?;
        self.expect("}}")?;
        let call = Box::new(HelperTemplate::new(call, false, false));
        self.push(template, TemplateElement::Expression(call), start)
    }

    fn inversion(&mut self, template: &mut Template, start: usize) -> Option<Tag> {
        self.skip_space();
        if self.rest().starts_with("}}") {
            self.close(template, start)?;
            return Some(Tag::Else);
        }
        let name = self.word(is_symbol)?;
        let call = self.block_call(name)?;
        let own_line = self.close(template, start)?;
        let branch = HelperTemplate::new_chain(call, true, own_line);
        Some(Tag::ElseIf(Box::new(branch)))
    }

    /// A block of a helper or a partial.
    fn block(&mut self, template: &mut Template, start: usize) -> Option<Tag> {
        self.expect("#")?;
        let is_partial = self.expect(">").is_some();
        let name = if is_partial {
            self.skip_space();
            self.word(is_partial_symbol)?
        } else {
            self.word(is_symbol)?
        };
        let call = self.block_call(name)?;
        let own_line = self.close(template, start)?;
        let place = self.place(start)?;
        template.mapping.push(place);
        let element = if is_partial {
            let mut partial = DecoratorTemplate::new(call, own_line);
            let (inner, end) = self.template()?;
            partial.template = Some(inner);
            matches!(end, Tag::Close(closed) if closed == name).then_some(())?;
            TemplateElement::PartialBlock(Box::new(partial))
        } else {
            let mut helper = HelperTemplate::new(call, true, own_line);
            self.branches(&mut helper, name)?;
            TemplateElement::HelperBlock(Box::new(helper))
        };
        template.elements.push(element);
        Some(Tag::Element)
    }

    /// What stands in a helper's block that is closed by `name`.
    fn branches(&mut self, helper: &mut HelperTemplate, name: &str) -> Option<()> {
        let (branch, end) = self.template()?;
        helper.template = Some(branch);
        match end {
            Tag::Close(closed) if closed == name => {}
            Tag::Else => {
                let (branch, end) = self.template()?;
                helper.inverse = Some(branch);
                matches!(end, Tag::Close(closed) if closed == name).then_some(())?;
            }
            Tag::ElseIf(mut next) => {
                helper.chain = true;
                self.branches(&mut next, name)?;
                let mut inverse = Template::new();
                inverse.elements.push(TemplateElement::HelperBlock(next));
                helper.inverse = Some(inverse);
            }
            Tag::Close(_) | Tag::Element | Tag::End => return None,
        }
        Some(())
    }

    /// The call of a partial.
    fn partial(&mut self, template: &mut Template, start: usize) -> Option<Tag> {
        self.expect(">")?;
        self.skip_space();
        let name = self.word(is_partial_symbol)?.to_owned();
        let call = self.arguments(Parameter::Name(name))?;
        let own_line = self.close(template, start)?;
        let before = &self.text[..start];
        let indent = &before[before.trim_end_matches([' ', '\t']).len()..];
        let mut partial = DecoratorTemplate::new(call, own_line);
        partial.indent = (!indent.is_empty()).then(|| indent.to_owned());
        let partial = TemplateElement::PartialExpression(Box::new(partial));
        self.push(template, partial, start)
    }

    fn closing(&mut self, template: &mut Template, start: usize) -> Option<Tag> {
        self.expect("/")?;
        let name = self.word(is_partial_symbol)?.to_owned();
        self.close(template, start)?;
        Some(Tag::Close(name))
    }

    /// The end of a tag that leaves nothing of a line which it has for itself; gives whether it has one.
    fn close(&mut self, template: &mut Template, start: usize) -> Option<bool> {
        self.expect("}}")?;
        Some(self.own_line(template, start))
    }

    /// Drops the indent of a tag that stands alone on its line; gives whether it does.
    fn own_line(&mut self, template: &mut Template, start: usize) -> bool {
        let before = self.text[..start].trim_end_matches([' ', '\t']);
        let after = self.rest();
        let starts_line = before.is_empty() || before.ends_with('\n');
        let ends_line = after.is_empty() || after.trim_start_matches([' ', '\t']).starts_with('\n');
        self.is_after_own_line = starts_line && ends_line;
        if self.is_after_own_line
            && let Some(TemplateElement::RawString(text)) = template.elements.last_mut()
        {
            text.truncate(text.trim_end_matches([' ', '\t']).len());
        }
        self.is_after_own_line
    }

    /// A word of such characters; none if there is none here.
    fn word(&mut self, is_part: impl Fn(char) -> bool) -> Option<&'t str> {
        let rest = &self.text[self.position..];
        let word = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        self.position += word.len();
        (!word.is_empty()).then_some(word)
    }

    /// Passes a text, and white space before it.
    fn expect(&mut self, text: &str) -> Option<()> {
        self.skip_space();
        self.rest()
            .starts_with(text)
            .then(|| self.position += text.len())
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start_matches([' ', '\t', '\n']).len();
    }

    fn rest(&self) -> &'t str {
        &self.text[self.position..]
    }

    /// Adds an element that begins at a position.
    fn push(
        &mut self,
        template: &mut Template,
        element: TemplateElement,
        position: usize,
    ) -> Option<Tag> {
        let place = self.place(position)?;
        template.elements.push(element);
        template.mapping.push(place);
        Some(Tag::Element)
    }

    /// The line and column of a position, which is none before the last one that was asked for.
    fn place(&mut self, position: usize) -> Option<TemplateMapping> {
        for c in self.text.get(self.counted..position)?.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.counted = position;
        let mut place = PATTERN.as_ref()?.0.clone();
        (place.0, place.1) = (self.line, self.column);
        Some(place)
    }
}

fn is_symbol(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$' | ':') || !c.is_ascii()
}

fn is_partial_symbol(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '@' | '/' | '.') || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charts::{Charts, has_suffix};

    fn by_handlebars(text: &str) -> Template {
        Template::compile(text).unwrap()
    }

    #[test]
    fn every_chart_is_read_here_and_as_handlebars_reads_it() {
        let charts = Charts::embedded().unwrap();
        let templates = charts
            .files
            .iter()
            .filter(|(file, _)| has_suffix(file, "hbs"));
        for (file, text) in templates {
            let read = read(text).unwrap_or_else(|| {
                panic!(
                    "{file}: only handlebars can read this, which takes long; write it otherwise"
                )
            });
            assert_eq!(read, by_handlebars(text), "{file}");
        }
    }

    #[test]
    fn white_space_and_places_are_those_of_handlebars() {
        let texts = [
            "",
            "\n",
            "  a\n",
            "  {{a}}  \n",
            "a: {{b}}{{c.d}} {{ e }}\n\n",
            "{{!-- a }} --}}\nb {{! c }}\n",
            "  {{! c }}",
            "a\n  {{#if b}}\n  c\n  {{else}}\n  d\n  {{/if}}\ne",
            "{{#if b}}c{{else}}d{{/if}}\n",
            "ü{{#if b}} \n{{/if}}\t\n\n{{c}}",
            "{{#if a}}\n1\n{{else if (b c)}}\n2\n{{else if d}}\n3\n{{else}}\n4\n{{/if}}\n",
            "{{#if a}}1{{else if (b c)}}2{{/if}}",
            "{{#each a as |b c|}}\n{{b}}{{c}}\n{{/each}}{{#each a as |b|}}{{@key}}{{/each}}",
            "{{#> a/b c d=e}}\n  x\n{{/a/b}}\n  {{> @partial-block}}\n",
            "a: {{> b null c=(d e \"f g\" h=1)\n  i=[1, {\"j\": null}] k=true}}\n{{> b}}",
            "{{a (b)}} {{a (this)}} {{a this.b}} {{a @root.b.c @index}} {{a @root/b}}",
        ];
        for text in texts {
            assert_eq!(read(text), Some(by_handlebars(text)), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_known_here_is_left_to_handlebars() {
        let texts = [
            "{{{a}}}",
            "{{~a}} b",
            "a {{b~}} c",
            "\\{{a}}",
            "{{../a}}",
            "{{a.[b c]}}",
            "{{a 'b'}}",
            "{{a -1.5}}",
            "{{a null.b}}",
            "{{true}}",
            "{{a as |b|}}",
            "{{a @b.c}}",
            "{{^}}{{a}}",
            "a\r\n{{b}}\r\n",
            "{{#if a}}",
            "{{#if a}}{{/unless}}",
            "{{a",
            "{{a \"b}}",
        ];
        for text in texts {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(compile("t", "{{../a}}").unwrap().name.as_deref(), Some("t"));
        assert_eq!(
            compile("t", "a\n{{#if b}}").unwrap_err().pos(),
            Some((2, 10))
        );
    }
}
