//! The commands of a page of the documents, run as a reader runs them.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use e2e::{control_plane::ControlPlane, host::workspace::root, operator};

/// A directory in which commands of pages run, with kubectl and the operator's program in the `PATH`.
pub struct Reader<'p> {
    plane: &'p ControlPlane,
    dir: PathBuf,
    page: String,
}

impl<'p> Reader<'p> {
    pub fn of(plane: &'p ControlPlane, page: &str) -> Self {
        let dir = plane.dir().join("reader");
        if !dir.exists() {
            fs::create_dir_all(&dir).unwrap();
            symlink(plane.kubectl_path(), dir.join("kubectl")).unwrap();
            symlink(operator::binary().unwrap(), dir.join("istio-operator")).unwrap();
        }
        let page = fs::read_to_string(root().join("docs").join(page)).unwrap();
        Self { plane, dir, page }
    }

    /// Writes the file that the commands read.
    pub fn writes(&self, file: &str, text: &str) {
        fs::write(self.dir.join(file), text).unwrap();
    }

    /// What a command wrote into a file.
    pub fn file(&self, file: &str) -> String {
        fs::read_to_string(self.dir.join(file)).unwrap()
    }

    /// Runs all commands of a section. The first one that fails ends it.
    pub fn follows(&self, section: &str) {
        let blocks = self.blocks(section);
        assert!(!blocks.is_empty(), "{section} has no commands");
        for block in blocks {
            self.runs(&block);
        }
    }

    /// The blocks of commands in a section.
    pub fn blocks(&self, section: &str) -> Vec<String> {
        let heading = format!("\n## {section}\n");
        let (_, text) = self.page.split_once(&heading).unwrap();
        let text = text.split("\n## ").next().unwrap();
        let blocks = text.split("\n```sh\n").skip(1);
        let block = |rest: &str| rest.split("\n```").next().unwrap().to_owned();
        blocks.map(block).collect()
    }

    /// Runs one block.
    pub fn runs(&self, block: &str) {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-euxc", block])
            .current_dir(&self.dir)
            .env("KUBECONFIG", self.plane.kubeconfig())
            .env("HOME", &self.dir)
            .env("PATH", format!("{}:{path}", self.dir.display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}
