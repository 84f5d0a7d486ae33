//! The rules of the house, held by reading the code: see ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Who may know the configuration of a run: whoever puts the rooms together.
const MAY_IMPORT_CONFIG: [&str; 7] = [
    "config/",
    "training_loop.rs",
    "run/",
    "diffusers/",
    "commands/",
    "lib.rs",
    "main.rs",
];

/// The most folders in the program.
const MOST_ROOMS: usize = 9;

/// A crate: its source files by their path below `src`.
type Crate = BTreeMap<String, String>;

/// Text without comments and tests; tests stand at the end of a file.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// `a/b.rs` and `a/b/mod.rs` are the module a::b; `lib.rs` and `main.rs` are the root.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

/// The paths of a use tree: `a::{b, c::d}` is a::b and a::c::d.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let parts = path.split("::").map(|part| part.trim().to_owned());
        return vec![parts.filter(|part| !part.is_empty()).collect()];
    };
    let head = expand(&tree[..open]).remove(0);
    let (mut depth, mut start, mut paths) = (0, open + 1, Vec::new());
    for (at, letter) in tree.char_indices().skip_while(|&(at, _)| at < open) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        let ends = (letter == ',' && depth == 1) || (letter == '}' && depth == 0);
        if ends && !tree[start..at].trim().is_empty() {
            for path in expand(&tree[start..at]) {
                paths.push([head.clone(), path].concat());
            }
        }
        if ends {
            start = at + 1;
        }
    }
    paths
}

/// What a file names: paths that it imports, and names that it hands on (`pub use`) under a name.
#[derive(Default)]
struct Names {
    imported: Vec<Vec<String>>,
    handed_on: Vec<(String, Vec<String>)>,
}

fn names(text: &str) -> Names {
    let code = code(text);
    let mut names = Names::default();
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        let line = statement
            .rsplit('\n')
            .find(|line| line.contains("use "))
            .unwrap_or_default();
        let start = statement.rfind(line).unwrap_or_default();
        let tree = &statement[start..];
        match tree.split_once("use ") {
            Some((before, tree)) if before.is_empty() || before.starts_with("pub") => {
                let tree = tree.trim_end_matches(';');
                if before.is_empty() {
                    names.imported.extend(expand(tree));
                    continue;
                }
                // Of a list, each by itself, with the name that it is given.
                for path in expand(tree) {
                    let last = path.last().cloned().unwrap_or_default();
                    let renamed = tree.split(&format!("{last} as ")).nth(1);
                    let name = renamed.map_or(last.clone(), |name| {
                        let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                        name[..end.unwrap_or(name.len())].to_owned()
                    });
                    names.handed_on.push((name, path));
                }
            }
            _ => rest += statement,
        }
    }
    // Paths in the code itself: from the root, and into modules below.
    let below = code.lines().filter_map(|line| {
        let (before, module) = line.trim_end_matches(';').rsplit_once("mod ")?;
        let is_declared = before.is_empty() || before.starts_with("pub");
        (line.ends_with(';') && is_declared).then(|| module.to_owned())
    });
    for start in below.chain(["crate".to_owned(), "super".to_owned()]) {
        let pattern = format!("{start}::");
        for (at, _) in rest.match_indices(&pattern) {
            let before = rest[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let end = rest[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            let path = &rest[at..at + end.unwrap_or(rest.len() - at)];
            names.imported.extend(expand(path));
        }
    }
    names
}

/// The files of a crate that each of its files imports.
fn imports(files: &Crate) -> BTreeMap<&str, BTreeSet<&str>> {
    let modules: BTreeMap<Vec<String>, &str> = files
        .keys()
        .filter(|file| *file != "main.rs")
        .map(|file| (module_of(file), file.as_str()))
        .collect();
    let named: BTreeMap<&str, Names> = files
        .iter()
        .map(|(file, text)| (file.as_str(), names(text)))
        .collect();
    // A path from the root of the crate, if it leads into the crate.
    let absolute = |module: &[String], path: &[String]| -> Option<Vec<String>> {
        let below = |first: &str| modules.contains_key(&[module, &[first.to_owned()]].concat());
        match path.first().map(String::as_str)? {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                let base = module.get(..module.len().checked_sub(up)?)?;
                Some([base, &path[up..]].concat())
            }
            first if below(first) => Some([module, path].concat()),
            _ => None,
        }
    };
    // The file that a path leads to, through all that hand its name on.
    let resolve = |mut path: Vec<String>| -> Option<&str> {
        for _ in 0..files.len() {
            let depth = (0..=path.len())
                .rev()
                .find(|&n| modules.contains_key(&path[..n]))?;
            let file = modules[&path[..depth]];
            let next = path.get(depth).and_then(|name| {
                let hands_on = |module: &[String]| {
                    let file = modules.get(module);
                    file.is_some_and(|&file| {
                        named[file].handed_on.iter().any(|(known, _)| known == name)
                    })
                };
                named[file].handed_on.iter().find_map(|(known, to)| {
                    let to = absolute(&path[..depth], to)?;
                    match to.split_last() {
                        // All that a module hands on (`pub use module::*`).
                        Some((star, module)) if star == "*" && hands_on(module) => {
                            Some([module, &path[depth..]].concat())
                        }
                        _ if known == name => Some([&to, &path[depth + 1..]].concat()),
                        _ => None,
                    }
                })
            });
            match next {
                Some(to) => path = to,
                None => return Some(file),
            }
        }
        None
    };
    named
        .iter()
        .map(|(&file, names)| {
            let module = module_of(file);
            let paths = names.imported.iter();
            let to: BTreeSet<&str> = paths
                .filter_map(|path| resolve(absolute(&module, path)?))
                .filter(|&to| to != file)
                .collect();
            (file, to)
        })
        .collect()
}

/// Files that import one another in a circle, if there are any.
fn circle<'a>(imports: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    fn visit<'a>(
        file: &'a str,
        imports: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(start) = way.iter().position(|&on_it| on_it == file) {
            return Some(way[start..].to_vec());
        }
        if done.contains(file) {
            return None;
        }
        way.push(file);
        for &next in &imports[file] {
            if let Some(found) = visit(next, imports, way, done) {
                return Some(found);
            }
        }
        way.pop();
        done.insert(file);
        None
    }
    let mut done = BTreeSet::new();
    imports
        .keys()
        .find_map(|&file| visit(file, imports, &mut Vec::new(), &mut done))
}

/// Every way in which the crates break the rules, `map` being the text of ARCHITECTURE.md.
fn broken_rules(crates: &BTreeMap<String, Crate>, map: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, files) in crates {
        let imports = imports(files);
        if let Some(circle) = circle(&imports) {
            broken.push(format!(
                "{name}: a circle of imports: {}",
                circle.join(" -> ")
            ));
        }
        for (file, text) in files {
            let names = names(text);
            if name != "trainer" && names.imported.iter().any(|path| path[0] == "trainer") {
                broken.push(format!("{name}/{file}: a library names the program"));
            }
        }
        if name == "trainer" {
            broken.extend(broken_in_the_program(files, &imports));
        }
        if name == "denoising" {
            broken.extend(broken_by_samplers(files));
        }
        broken.extend(off_the_map(name, files, map));
    }
    broken
}

/// Whether `text` has `word` in it, and not as a part of another.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// A sampler is a file of `samplers/` and one line of `kind.rs`; no other file names it.
fn broken_by_samplers(files: &Crate) -> Vec<String> {
    let mut broken = Vec::new();
    for (file, text) in files {
        let Some(sampler) = file.strip_prefix("samplers/").and_then(|_| {
            let (_, name) = text.split_once("Sampler<D> for ")?;
            let end = name.find(|c: char| !c.is_alphanumeric())?;
            Some(&name[..end])
        }) else {
            continue;
        };
        for (other, text) in files {
            if other.starts_with("samplers/") {
                continue;
            }
            // A choice, such as the default, is another thing.
            let code = code(text).replace(&format!("SamplerKind::{sampler}"), "");
            let lines = code.lines().filter(|line| has_word(line, sampler)).count();
            if lines != usize::from(other == "kind.rs") {
                broken.push(format!(
                    "denoising/{other}: {sampler} stands in {lines} lines of it, and a sampler is a file and \
                     one line of kind.rs"
                ));
            }
        }
    }
    broken
}

/// What the program may not do anywhere, or in one place alone.
fn broken_by_words(file: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let asks = |name: &str| {
        let variants = code.match_indices(name).filter(|&(at, _)| {
            let before = code[..at].chars().next_back();
            let after = code[at + name.len()..].chars().next();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                && after.is_some_and(char::is_uppercase)
        });
        variants.count() > 0
    };
    let mut broken = Vec::new();
    if !file.starts_with("kinds/") && (asks("Kind::") || asks("Dataset::")) {
        broken.push(format!("trainer/{file}: asks which kind of data it is"));
    }
    if code.contains("const D: usize") {
        broken.push(format!(
            "trainer/{file}: is generic over rank, and x is [batch, channels, height, width]"
        ));
    }
    if file != "network.rs" && code.contains("Network for ") {
        broken.push(format!("trainer/{file}: a second seam of networks"));
    }
    broken
}

fn broken_in_the_program(files: &Crate, imports: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let mut broken = Vec::new();
    let folders: BTreeSet<&str> = files
        .keys()
        .filter_map(|file| Some(file.split_once('/')?.0))
        .collect();
    if folders.len() > MOST_ROOMS {
        broken.push(format!("trainer: {} rooms: {folders:?}", folders.len()));
    }
    let commands = files
        .get("commands/mod.rs")
        .map(String::as_str)
        .unwrap_or_default();
    let is_command = |name: &str| commands.contains(&format!("pub mod {name};"));
    let command_of = |file: &str| {
        let file = file.strip_prefix("commands/")?;
        let name = file.split(['/', '.']).next()?;
        is_command(name).then(|| name.to_owned())
    };
    for (&file, to) in imports {
        broken.extend(broken_by_words(file, &files[file]));
        for &to in to {
            if to.starts_with("config/")
                && !MAY_IMPORT_CONFIG.iter().any(|may| file.starts_with(may))
            {
                broken.push(format!("trainer/{file}: imports config/"));
            }
            if let (Some(one), Some(other)) = (command_of(file), command_of(to))
                && one != other
            {
                broken.push(format!("trainer/{file}: a command imports another, {to}"));
            }
        }
    }
    broken
}

/// Files that the map does not name in the part about their crate, and names in it that are no file.
fn off_the_map(name: &str, files: &Crate, map: &str) -> Vec<String> {
    let heading = format!("\n### `{name}`");
    let Some((_, part)) = map.split_once(&heading) else {
        return vec![format!("{name}: ARCHITECTURE.md has no part about it")];
    };
    let part = part.split("\n#").next().unwrap_or_default();
    let quoted: BTreeSet<&str> = part.split('`').skip(1).step_by(2).collect();
    let mut broken = Vec::new();
    for file in files.keys() {
        let parts: Vec<&str> = file.split_inclusive('/').collect();
        let is_named = |part: &&str| matches!(*part, "lib.rs" | "mod.rs") || quoted.contains(part);
        if !parts.iter().all(is_named) {
            broken.push(format!("{name}/{file}: not in ARCHITECTURE.md"));
        }
    }
    for quoted in quoted.into_iter().filter(|name| name.ends_with(".rs")) {
        let is_file = |file: &String| file == quoted || file.ends_with(&format!("/{quoted}"));
        if !files.keys().any(is_file) {
            broken.push(format!(
                "{name}: ARCHITECTURE.md names {quoted}, which is not there"
            ));
        }
    }
    broken
}

/// The source files below a folder, by their path in it.
fn read_sources(folder: &Path, prefix: &str, into: &mut Crate) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let path = entry.path();
        if path.is_dir() {
            read_sources(&path, &format!("{prefix}{name}/"), into);
        } else if name.ends_with(".rs") {
            into.insert(format!("{prefix}{name}"), fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_code_keeps_the_rules_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut crates = BTreeMap::new();
    for entry in fs::read_dir(root.join("crates")).unwrap().flatten() {
        let mut files = Crate::new();
        read_sources(&entry.path().join("src"), "", &mut files);
        crates.insert(entry.file_name().into_string().unwrap(), files);
    }
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let broken = broken_rules(&crates, &map);
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// A house in which nothing is wrong, and what is changed in it.
fn made_up(changes: &[(&str, &str, &str)]) -> Vec<String> {
    let files = [
        (
            "noising",
            "lib.rs",
            "mod chain;\nmod schedule;\npub use chain::Chain;\n",
        ),
        ("noising", "chain.rs", "use crate::schedule::Schedule;\n"),
        (
            "noising",
            "schedule.rs",
            "/// See [`crate::chain`].\npub struct Schedule;\n",
        ),
        (
            "trainer",
            "lib.rs",
            "pub mod commands;\npub mod config;\npub mod kinds;\n",
        ),
        (
            "trainer",
            "config/mod.rs",
            "mod load;\npub use self::load::path;\nuse crate::kinds::Data;\n",
        ),
        ("trainer", "config/load.rs", "use super::RunConfig;\n"),
        ("trainer", "kinds.rs", "use noising::{Chain, self as n};\n"),
        (
            "trainer",
            "commands/mod.rs",
            "pub mod edit;\nmod opened;\npub mod train;\n",
        ),
        (
            "trainer",
            "commands/opened.rs",
            "use crate::config::RunConfig;\n",
        ),
        ("trainer", "commands/edit.rs", "use super::opened::open;\n"),
        (
            "trainer",
            "commands/train.rs",
            "use crate::{commands::opened::open, config};\n",
        ),
    ];
    let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
    for (name, file, text) in files.iter().chain(changes) {
        let files = crates.entry((*name).to_owned()).or_default();
        files.insert((*file).to_owned(), (*text).to_owned());
    }
    let map = "# Map\n### `noising`\n`chain.rs` `schedule.rs`\n### `trainer`\n`kinds.rs` `config/`: \
               `load.rs`; `commands/`: `edit.rs`, `opened.rs`, `train.rs`\n## Decisions\n";
    broken_rules(&crates, map)
}

#[test]
fn the_rules_can_be_broken() {
    assert_eq!(made_up(&[]), [""; 0]);
    let circle = (
        "noising",
        "schedule.rs",
        "use crate::{Chain, other::{A, B}};\n",
    );
    let inline = ("noising", "schedule.rs", "fn f() { super::chain::g() }\n");
    let through_all = (
        "noising",
        "lib.rs",
        "mod chain;\nmod all;\nmod schedule;\npub use all::*;\n",
    );
    let all = ("noising", "all.rs", "pub use crate::chain::Chain;\n");
    let by_star = ("noising", "schedule.rs", "use crate::Chain;\n");
    assert!(
        made_up(&[through_all, all, by_star])
            .iter()
            .any(|line| line == "noising: a circle of imports: chain.rs -> schedule.rs")
    );
    for change in [circle, inline] {
        let broken = made_up(&[change]);
        assert_eq!(
            broken,
            ["noising: a circle of imports: chain.rs -> schedule.rs"]
        );
    }
    for (change, expected) in [
        (
            ("noising", "schedule.rs", "use trainer::kinds;\n"),
            "noising/schedule.rs: a library names the program",
        ),
        (
            ("trainer", "commands/edit.rs", "use super::train::run;\n"),
            "trainer/commands/edit.rs: a command imports another, commands/train.rs",
        ),
        (
            ("noising", "posterior.rs", ""),
            "noising/posterior.rs: not in ARCHITECTURE.md",
        ),
        (
            ("trainer", "kinds.rs", "use crate::config::RunConfig;\n"),
            "trainer/kinds.rs: imports config/",
        ),
        (
            (
                "trainer",
                "commands/edit.rs",
                "use crate::kinds::Kind;\nfn f(k: Kind) -> bool { k == Kind::Points }\n",
            ),
            "trainer/commands/edit.rs: asks which kind of data it is",
        ),
        (
            ("trainer", "kinds.rs", "fn f<const D: usize>() {}\n"),
            "trainer/kinds.rs: is generic over rank, and x is [batch, channels, height, width]",
        ),
        (
            (
                "trainer",
                "kinds.rs",
                "impl training::Network for Other {}\n",
            ),
            "trainer/kinds.rs: a second seam of networks",
        ),
    ] {
        let broken = made_up(&[change]);
        assert!(broken.iter().any(|line| line == expected), "{broken:?}");
    }
    let file = "impl<const D: usize> Sampler<D> for Deis<D> {}\n";
    for (kind, lib, expected) in [
        (
            "kinds! {\n    Deis, \"deis\", |c| c.make(Deis::new);\n}\n",
            "",
            &[][..],
        ),
        ("", "", &["denoising/kind.rs: Deis stands in 0 lines"]),
        (
            "kinds! {\n    Deis, |c| c.make(Deis::new);\n}\nconst A: [S; 1] = [Deis];\n",
            "pub use samplers::{Deis, Euler};\nfn f() -> Deis { 0 }\n",
            &[
                "denoising/kind.rs: Deis stands in 2 lines",
                "denoising/lib.rs: Deis stands in 2 lines",
            ],
        ),
    ] {
        let files = [
            ("samplers/deis.rs", file),
            ("kind.rs", kind),
            ("lib.rs", lib),
        ];
        let files = files.map(|(file, text)| (file.to_owned(), text.to_owned()));
        let broken = broken_by_samplers(&Crate::from(files));
        assert_eq!(broken.len(), expected.len(), "{broken:?}");
        for (line, start) in broken.iter().zip(expected) {
            assert!(line.starts_with(start), "{line}");
        }
    }
    let rooms: Vec<String> = (0..8).map(|room| format!("room{room}/mod.rs")).collect();
    let rooms: Vec<_> = rooms
        .iter()
        .map(|file| ("trainer", file.as_str(), ""))
        .collect();
    assert!(made_up(&rooms).iter().any(|line| line.contains("10 rooms")));
}
