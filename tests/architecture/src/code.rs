//! A crate's code as the rules look at it: each file's place in the tree of modules, and whether
//! only tests compile it. Which files those are is read from the declarations, not from names.

use crate::text::{code_of, declared_modules, without_tests};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// A crate: its sources, what stands beside them, its manifest.
#[derive(Debug)]
pub(crate) struct Code {
    /// The files in `src`, by path.
    pub(crate) files: Vec<File>,
    /// The crate's own tests, benches, examples and build script: path and code.
    pub(crate) beside: Vec<(String, String)>,
    pub(crate) manifest: String,
    /// Modules that are declared and have no file where it should be: declarer, module.
    pub(crate) missing: Vec<(String, String)>,
}

/// A file in `src`.
#[derive(Debug)]
pub(crate) struct File {
    /// In `src`: `xds/decode/mod.rs`.
    pub(crate) path: String,
    /// `xds/decode`; empty for the crate's root.
    pub(crate) module: String,
    /// All its code.
    pub(crate) whole: String,
    /// Its code but what only tests compile: all where only tests compile the file.
    pub(crate) code: String,
    pub(crate) standing: Standing,
}

/// How a file belongs to the crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// No file declares it.
    Orphan,
    /// Tests alone compile it.
    Test,
    Product,
}

impl Code {
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut paths = vec![root.join("Cargo.toml")];
        paths.extend(Some(root.join("build.rs")).filter(|path| path.is_file()));
        walk(&root.join("src"), &mut paths)?;
        for folder in ["tests", "benches", "examples"] {
            let folder = root.join(folder);
            if folder.is_dir() {
                walk(&folder, &mut paths)?;
            }
        }
        let mut texts = BTreeMap::new();
        for path in paths {
            let inside = path.strip_prefix(root).unwrap_or(&path);
            let name = inside.to_string_lossy().replace('\\', "/");
            texts.insert(name, fs::read_to_string(&path)?);
        }
        Ok(Self::of(&texts))
    }

    /// From the texts of the files by their paths in the crate's folder.
    pub(crate) fn of(texts: &BTreeMap<String, String>) -> Self {
        let mut code = Self {
            files: Vec::new(),
            beside: Vec::new(),
            manifest: String::new(),
            missing: Vec::new(),
        };
        for (path, text) in texts {
            if path == "Cargo.toml" {
                code.manifest.clone_from(text);
            } else if let Some(path) = path.strip_prefix("src/") {
                code.files.push(File::new(path, text));
            } else {
                code.beside.push((path.clone(), code_of(text)));
            }
        }
        for root in ["lib.rs", "main.rs"] {
            if code.files.iter().any(|file| file.path == root) {
                code.settle(root, Standing::Product);
            }
        }
        code
    }

    /// Files that are more than tests.
    pub(crate) fn product(&self) -> impl Iterator<Item = &File> {
        self.files
            .iter()
            .filter(|file| file.standing != Standing::Test)
    }

    /// Gives a file its standing, and all files beneath it theirs.
    fn settle(&mut self, path: &str, standing: Standing) {
        let Some(file) = self.files.iter_mut().find(|file| file.path == path) else {
            return;
        };
        if file.standing >= standing {
            return;
        }
        file.standing = standing;
        let inside: Vec<String> = owned(declared_modules(&file.code));
        let all: Vec<String> = owned(declared_modules(&file.whole));
        let module = file.module.clone();
        for name in all {
            let child = [module.as_str(), &name].join("/");
            let child = child.trim_start_matches('/');
            let places = [format!("{child}.rs"), format!("{child}/mod.rs")];
            let found = |place: &&String| self.files.iter().any(|file| file.path == **place);
            match places.iter().find(found) {
                Some(place) if inside.contains(&name) => self.settle(place, standing),
                Some(place) => self.settle(place, Standing::Test),
                None => self.missing.push((path.to_owned(), name)),
            }
        }
    }
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let module = path.trim_end_matches(".rs");
        let module = match module {
            "lib" | "main" | "mod" => "",
            module => module.strip_suffix("/mod").unwrap_or(module),
        };
        let whole = code_of(text);
        Self {
            path: path.to_owned(),
            module: module.to_owned(),
            code: without_tests(&whole),
            whole,
            standing: Standing::Orphan,
        }
    }

    /// Lines that hold code.
    pub(crate) fn lines(&self) -> usize {
        let lines = self.code.lines();
        lines.filter(|line| !line.trim().is_empty()).count()
    }
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standings(texts: &[(&str, &str)]) -> Vec<(String, Standing)> {
        let own = |(path, text): &(&str, &str)| (format!("src/{path}"), (*text).to_owned());
        let code = Code::of(&texts.iter().map(own).collect());
        let pair = |file: File| (file.path, file.standing);
        code.files.into_iter().map(pair).collect()
    }

    #[test]
    fn a_file_is_what_its_declaration_makes_it() {
        let found = standings(&[
            ("a/b.rs", ""),
            ("a/b/c.rs", ""),
            ("a/helper.rs", "mod below;"),
            ("a/helper/below.rs", ""),
            ("a/mod.rs", "mod b;\n#[cfg(test)]\nmod helper;"),
            ("a/tests.rs", ""),
            ("lib.rs", "pub mod a;"),
            ("main.rs", ""),
        ]);
        let expected = [
            ("a/b.rs", Standing::Product),
            ("a/b/c.rs", Standing::Orphan),
            ("a/helper.rs", Standing::Test),
            ("a/helper/below.rs", Standing::Test),
            ("a/mod.rs", Standing::Product),
            ("a/tests.rs", Standing::Orphan),
            ("lib.rs", Standing::Product),
            ("main.rs", Standing::Product),
        ];
        let expected: Vec<_> = expected.map(|(path, is)| (path.to_owned(), is)).into();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let nowhere = Path::new(env!("CARGO_MANIFEST_DIR")).join("nowhere");
        assert!(Code::read(&nowhere).is_err());
    }

    #[test]
    fn a_crate_is_read_with_all_that_belongs_to_it() {
        let code = Code::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(code.manifest.contains("segue-architecture"));
        assert!(code.files.iter().any(|file| file.path == "rules/mod.rs"));
        assert!(
            code.beside
                .iter()
                .any(|(path, _)| path == "tests/planted.rs")
        );
        let is_settled = |file: &File| file.standing != Standing::Orphan;
        assert!(code.files.iter().all(is_settled));
    }
}
