//! What stands inside a tag: names, arguments, paths.

use std::collections::HashMap;

use handlebars::template::{
    BlockParam, ExpressionSpec, ExpressionSpecBuilder, Parameter, Subexpression,
};
use handlebars::{Path, PathSeg};
use serde_json::Value;

use super::{PATTERN, Reader, is_symbol};

/// Words that mean something else where a path may stand.
const KEYWORDS: [&str; 5] = ["as", "else", "null", "true", "false"];

/// What stands before the names that a block gives.
const NAMES: &str = "as |";

impl Reader<'_> {
    /// A name with its arguments, or a value.
    pub(super) fn call(&mut self) -> Option<ExpressionSpec> {
        self.skip_space();
        let start = self.position;
        let name = self.word(is_symbol).unwrap_or_default();
        let is_longer = self.rest().starts_with(['.', '/', '@']);
        self.skip_space();
        if !name.is_empty() && !is_longer && !self.is_at_end() {
            return self.arguments(Parameter::Name(name.to_owned()));
        }
        self.position = start;
        let value = self
            .path()
            .filter(|value| matches!(value, Parameter::Path(_)))?;
        let call = self.arguments(value)?;
        (call.params.is_empty() && call.hash.is_empty()).then_some(call)
    }

    /// The name of a block with its arguments and the names that it gives.
    pub(super) fn block_call(&mut self, name: &str) -> Option<ExpressionSpec> {
        let mut call = self.arguments(Parameter::Name(name.to_owned()))?;
        if self.rest().starts_with(NAMES) {
            self.position += NAMES.len();
            let first = Parameter::Name(self.word(is_symbol)?.to_owned());
            self.skip_space();
            let second = self
                .word(is_symbol)
                .map(|name| Parameter::Name(name.to_owned()));
            self.expect("|")?;
            call.block_param = Some(match second {
                Some(second) => BlockParam::Pair((first, second)),
                None => BlockParam::Single(first),
            });
        }
        Some(call)
    }

    /// The arguments of a call.
    pub(super) fn arguments(&mut self, name: Parameter) -> Option<ExpressionSpec> {
        let (mut params, mut hash) = (Vec::new(), HashMap::new());
        loop {
            self.skip_space();
            if self.is_at_end() || self.rest().starts_with(NAMES) {
                break;
            }
            let start = self.position;
            match self.word(is_symbol) {
                Some(key) if self.rest().starts_with('=') => {
                    self.position += 1;
                    hash.insert(key.to_owned(), self.argument()?);
                }
                _ => {
                    self.position = start;
                    params.push(self.argument()?);
                }
            }
        }
        let mut call = ExpressionSpecBuilder::default();
        call.name(name).params(params).hash(hash);
        call.omit_pre_ws(false).omit_pro_ws(false).build().ok()
    }

    fn is_at_end(&self) -> bool {
        self.rest().starts_with(['}', ')'])
    }

    fn argument(&mut self) -> Option<Parameter> {
        match self.rest().bytes().next()? {
            b'(' => {
                self.position += 1;
                let call = self.call()?;
                self.expect(")")?;
                let call = Subexpression::new(call.name, call.params, call.hash);
                Some(Parameter::Subexpression(call))
            }
            b'"' | b'[' | b'{' => {
                let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter();
                let value = values.next()?.ok()?;
                self.position += values.byte_offset();
                Some(Parameter::Literal(value))
            }
            b'0'..=b'9' => {
                let number: u64 = self.word(is_symbol)?.parse().ok()?;
                Some(Parameter::Literal(number.into()))
            }
            _ => self.path(),
        }
    }

    /// The path of a value, or a word that is a value itself.
    fn path(&mut self) -> Option<Parameter> {
        let path = self.word(|c| is_symbol(c) || matches!(c, '@' | '.' | '/'))?;
        match path {
            "null" => return Some(Parameter::Literal(Value::Null)),
            "true" => return Some(Parameter::Literal(true.into())),
            "false" => return Some(Parameter::Literal(false.into())),
            _ => {}
        }
        if let Some(local) = path.strip_prefix('@')
            && local.chars().all(is_symbol)
        {
            let path = Path::Local((0, local.to_owned(), path.to_owned()));
            return (!local.is_empty()).then_some(Parameter::Path(path));
        }
        let from_root = path.strip_prefix("@root");
        let mut steps = Vec::new();
        if from_root.is_some() {
            steps.push(PATTERN.as_ref()?.1.clone());
        }
        let below = from_root.and_then(|below| below.strip_prefix(['.', '/']));
        for step in below.unwrap_or(path).split(['.', '/']) {
            let is_word = step.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !is_word || step.contains('@') || KEYWORDS.contains(&step) {
                return None;
            }
            if step != "this" {
                steps.push(PathSeg::Named(step.to_owned()));
            }
        }
        let is_whole = !self.rest().starts_with(['[', '=']);
        is_whole.then(|| Parameter::Path(Path::Relative((steps, path.to_owned()))))
    }
}
