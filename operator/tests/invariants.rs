//! The invariants of `operator/README.md` that the source itself can show.
//!
//! Every file is parsed, items for tests are dropped wherever they stand, and imports are expanded and resolved, so
//! that neither a group in braces, nor `super::`, nor an early `#[cfg(test)]` hides anything.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, ExprStruct, Item, ItemUse, Macro, UseTree};

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The modules in the order of the pipeline; each may use those before it.
const ORDER: [&str; 17] = [
    "parallel",
    "api",
    "catalogue",
    "charts",
    "merge",
    "render",
    "cluster",
    "dataplane",
    "plan",
    "apply",
    "status",
    "settings",
    "telemetry",
    "lease",
    "serve",
    "controller",
    "cli",
];

/// Modules and files that take no client and read no clock, environment or file.
const PURE: [&str; 10] = [
    "parallel",
    "api",
    "catalogue",
    "charts",
    "merge",
    "render",
    "cluster",
    "dataplane",
    "plan",
    "status",
];

/// Files of pure modules that are not pure, and why.
const EXCEPTIONS: [(&str, &str); 2] = [
    (
        "charts/files.rs",
        "reads the directory of `--charts` at start",
    ),
    ("status/publish.rs", "sends statuses and Events"),
];

/// What a pure module may not name; a path matches if it begins or ends with one of these.
const IMPURE: [&str; 11] = [
    "kube::Client",
    "kube::Api",
    "kube::api::Api",
    "std::fs",
    "std::env",
    "std::process",
    "tokio",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
];

/// Types that stand for a finished stage, and the only module that may make one.
const STAGES: [(&str, &str); 5] = [
    ("Merged", "merge"),
    ("Rendered", "render"),
    ("Plan", "plan"),
    ("DeletionStep", "plan"),
    ("Applied", "apply"),
];

#[test]
fn no_module_uses_one_that_stands_later() {
    for file in sources() {
        let Some(rank) = ORDER.iter().position(|module| *module == file.top_module()) else {
            continue;
        };
        for path in file.paths() {
            for later in &ORDER[rank + 1..] {
                let prefix = format!("crate::{later}");
                assert!(
                    path != prefix && !path.starts_with(&format!("{prefix}::")),
                    "{} uses {path}, which stands later",
                    file.name
                );
            }
        }
    }
}

#[test]
fn every_module_has_its_place_in_the_order() {
    for file in sources() {
        let module = file.top_module();
        let is_known = ORDER.contains(&module) || ["lib", "main"].contains(&module);
        assert!(is_known, "{module} is not in ORDER of this test");
    }
}

#[test]
fn pure_modules_touch_nothing() {
    for file in sources() {
        let is_exception = EXCEPTIONS.iter().any(|(name, _)| *name == file.name);
        if !PURE.contains(&file.top_module()) || is_exception {
            continue;
        }
        for path in file.paths() {
            let is_impure = |name: &&str| {
                path == *name
                    || path.starts_with(&format!("{name}::"))
                    || path.ends_with(&format!("::{name}"))
            };
            let impure = IMPURE.into_iter().find(is_impure);
            assert!(impure.is_none(), "{} names {path}", file.name);
        }
    }
}

#[test]
fn exceptions_are_files_that_exist() {
    for (name, _) in EXCEPTIONS {
        assert!(Path::new(SRC).join(name).is_file(), "{name} is gone");
    }
}

#[test]
fn nothing_outside_these_modules_can_write() {
    let writers = [
        "apply/",
        "status/publish.rs",
        "controller/",
        "lease.rs",
        "cli/writes.rs",
    ];
    for file in sources() {
        if writers.iter().any(|writer| file.name.starts_with(writer)) {
            continue;
        }
        for path in file.paths() {
            let name = path.rsplit("::").next().unwrap_or_default();
            let is_call = ["PatchParams", "PostParams", "DeleteParams"].contains(&name);
            assert!(!is_call, "{} names {path}", file.name);
        }
    }
}

#[test]
fn only_its_stage_makes_a_stage_type() {
    for file in sources() {
        for made in file.struct_literals() {
            for (stage, module) in STAGES {
                assert!(
                    made != stage || file.top_module() == module,
                    "{} makes a {stage}, which only {module} may",
                    file.name
                );
            }
        }
    }
}

#[test]
fn files_stay_readable_in_one_sitting() {
    for file in sources() {
        let lines = file.text.lines().count();
        assert!(lines <= 500, "{} has {lines} lines", file.name);
    }
}

/// What this test finds in code that hides what it does.
#[test]
fn hidden_imports_are_found() {
    let code = "
        use std::{collections::BTreeMap, time::Instant};
        #[cfg(test)] mod early { use tokio::spawn; }
        use super::super::apply::{Sender as S};
        fn now() -> Instant { Instant::now() }
        fn log() { println!(\"{:?}\", std::env::vars()); }
        fn make() { let _ = Plan { waves: 1 }; }
    ";
    let file = Source::parse("plan/orphans.rs", code.to_owned());
    let paths = file.paths();
    for path in [
        "std::time::Instant",
        "crate::apply::Sender",
        "Instant::now",
        "std::env::vars",
    ] {
        assert!(paths.iter().any(|found| found == path), "{path}: {paths:?}");
    }
    assert!(
        !paths.iter().any(|path| path.starts_with("tokio")),
        "{paths:?}"
    );
    assert_eq!(file.struct_literals(), ["Plan"]);
}

/// A file of `src`, without its tests.
struct Source {
    /// Its path below `src`.
    name: String,
    text: String,
    code: syn::File,
}

impl Source {
    fn parse(name: &str, text: String) -> Self {
        let mut code = syn::parse_file(&text).expect("a file that compiles");
        WithoutTests.visit_file_mut(&mut code);
        Self {
            name: name.to_owned(),
            text,
            code,
        }
    }

    fn top_module(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The module that the file is, such as `crate::plan::orphans`.
    fn module(&self) -> Vec<String> {
        let stem = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        let parts = stem
            .split('/')
            .filter(|part| !["lib", "main"].contains(part));
        std::iter::once("crate")
            .chain(parts)
            .map(str::to_owned)
            .collect()
    }

    /// Every path that the code names, imports expanded and `self` and `super` resolved.
    fn paths(&self) -> Vec<String> {
        let mut paths = Paths(Vec::new());
        paths.visit_file(&self.code);
        paths.0.iter().map(|path| self.resolve(path)).collect()
    }

    fn resolve(&self, path: &str) -> String {
        let mut module = self.module();
        let mut parts: Vec<_> = path.split("::").collect();
        let is_relative = ["self", "super"].contains(&parts[0]);
        while let [first, ..] = parts[..]
            && ["self", "super"].contains(&first)
        {
            if first == "super" {
                module.pop();
            }
            parts.remove(0);
        }
        if is_relative {
            module.extend(parts.into_iter().map(str::to_owned));
            module.join("::")
        } else {
            path.to_owned()
        }
    }

    /// The names of all types that the code makes by their fields.
    fn struct_literals(&self) -> Vec<String> {
        let mut literals = StructLiterals(Vec::new());
        literals.visit_file(&self.code);
        literals.0
    }
}

/// Every file of `src` that holds more than tests.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for path in files(Path::new(SRC)) {
        let name = path.strip_prefix(SRC).expect("a file below src");
        let name = name.to_string_lossy().into_owned();
        let is_test = name.ends_with("tests.rs")
            || name.contains("/tests/")
            || name == "apply/fake_api_server.rs";
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if is_source && !is_test {
            let text = fs::read_to_string(&path).expect("a readable file");
            sources.push(Source::parse(&name, text));
        }
    }
    assert!(!sources.is_empty());
    sources
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Drops every item that is compiled for tests only.
struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !is_for_tests(item));
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !is_for_tests(item));
        }
        visit_mut::visit_item_mod_mut(self, module);
    }
}

fn is_for_tests(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    };
    attributes.iter().any(|attribute| {
        let text = attribute.meta.to_token_stream().to_string();
        attribute.path().is_ident("cfg") && text.contains("(test)")
    })
}

/// Collects paths: of imports, of code, and of what stands in macros.
struct Paths(Vec<String>);

impl<'a> Visit<'a> for Paths {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        expand(&item.tree, "", &mut self.0);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        self.0.push(names.collect::<Vec<_>>().join("::"));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'a Macro) {
        scan(called.tokens.clone(), &mut self.0);
        visit::visit_macro(self, called);
    }
}

fn expand(tree: &UseTree, prefix: &str, paths: &mut Vec<String>) {
    let below = |name: &dyn ToString| {
        let separator = if prefix.is_empty() { "" } else { "::" };
        format!("{prefix}{separator}{}", name.to_string())
    };
    match tree {
        UseTree::Path(path) => expand(&path.tree, &below(&path.ident), paths),
        UseTree::Name(name) => paths.push(below(&name.ident)),
        UseTree::Rename(rename) => paths.push(below(&rename.ident)),
        UseTree::Glob(_) => paths.push(prefix.to_owned()),
        UseTree::Group(group) => {
            for tree in &group.items {
                expand(tree, prefix, paths);
            }
        }
    }
}

/// Finds `a::b::c` among the tokens of a macro.
fn scan(tokens: TokenStream, paths: &mut Vec<String>) {
    let mut path = String::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(name) if !path.is_empty() && colons == 2 => {
                path = format!("{path}::{name}");
                colons = 0;
            }
            TokenTree::Ident(name) => {
                paths.push(std::mem::replace(&mut path, name.to_string()));
                colons = 0;
            }
            TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                paths.push(std::mem::take(&mut path));
                scan(group.stream(), paths);
            }
            _ => paths.push(std::mem::take(&mut path)),
        }
    }
    paths.push(path);
}

/// Collects the names of struct literals.
struct StructLiterals(Vec<String>);

impl<'a> Visit<'a> for StructLiterals {
    fn visit_expr_struct(&mut self, literal: &'a ExprStruct) {
        let name = literal.path.segments.last();
        self.0.extend(name.map(|name| name.ident.to_string()));
        visit::visit_expr_struct(self, literal);
    }
}
