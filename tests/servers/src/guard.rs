//! A shell that outlives this process by a moment, to clean up behind it.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::machine::User;

const SCRIPT: &str = include_str!("guard.sh");

/// A folder and at most one server in it, both gone when this is dropped or
/// when this process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Guard {
    folder: PathBuf,
    shell: Mutex<Shell>,
}

#[derive(Debug)]
struct Shell {
    child: Child,
    calls: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Guard {
    /// A new folder below `parent`, which belongs to `user`.
    pub(crate) fn new(parent: &Path, name: &str, user: Option<&User>) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "guard"])
            .arg(parent)
            .arg(name)
            .current_dir("/")
            // A Ctrl-C that ends the tests must not end what cleans up behind them.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid);
        }
        let mut child = command.spawn().expect("sh starts");
        let calls = child.stdin.take();
        let answers = child.stdout.take().expect("stdout is a pipe");
        let mut shell = Shell {
            child,
            calls,
            answers: BufReader::new(answers),
        };
        let folder = PathBuf::from(shell.answer());
        Self {
            folder,
            shell: Mutex::new(shell),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a program in the folder to its end.
    ///
    /// # Panics
    /// Where it fails, with what it said.
    pub(crate) fn run(&self, command: &[String]) {
        let status = self.call(&format!("run {}", quoted(command)));
        assert_eq!(status, "0", "{command:?} failed:\n{}", self.log());
    }

    /// Writes a file into the folder, readable to the server.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let file = self.folder.join(name);
        std::fs::write(&file, text).expect("the folder of the server can be written");
        // This process may have a narrow mask and another user.
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("its own file");
    }

    /// Starts the server and gives its process id.
    pub(crate) fn start(&self, command: &[String]) -> u32 {
        let pid = self.call(&format!("start {}", quoted(command)));
        pid.parse().expect("the shell names the process")
    }

    /// Calls one of the script's functions.
    pub(crate) fn call(&self, call: &str) -> String {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = shell.calls.as_mut().expect("open until dropped");
        writeln!(calls, "{call}").expect("the shell reads until its input ends");
        shell.answer()
    }

    /// Whether there is no server, or it has ended.
    pub(crate) fn ended(&self) -> bool {
        let written = |name| {
            std::fs::metadata(self.folder.join(name)).is_ok_and(|metadata| metadata.len() > 0)
        };
        !written("pid") || written("ended")
    }

    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(shell.calls.take());
        // A failure to wait leaves the shell to finish alone, as after a kill.
        let _ = shell.child.wait();
    }
}

impl Shell {
    fn answer(&mut self) -> String {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        assert!(
            read.is_ok_and(|bytes| bytes > 0),
            "the shell that guards a server has ended"
        );
        line.trim_end().to_owned()
    }
}

fn quoted(words: &[String]) -> String {
    let quote = |word: &String| {
        assert!(!word.contains('\n'), "a call is one line");
        format!("'{}'", word.replace('\'', r"'\''"))
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}
