//! kcat: the client that people try a broker with, on an older librdkafka than the crate's.
//!
//! It is taken from the `PATH`, or else fetched with the machine's package manager into `target`, as
//! nobody in particular. Where neither works the test says so in one line and passes, unless
//! `POLYLOGUE_CLIENTS=all` asks that no client be skipped.

use std::{
    env, fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
};

use super::skip::{clients_folder, run, skip};

/// A kcat that runs.
#[derive(Clone, Debug)]
pub(crate) struct Kcat {
    program: PathBuf,
    /// Folders to look for its libraries in, as the loader takes them.
    libraries: Option<String>,
}

/// Finds or fetches kcat; `None` after having said what is skipped.
pub(crate) fn find(test: &str) -> Option<Kcat> {
    // Tests run side by side; one of them fetches, the others find.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match on_path().map_or_else(fetched, Ok) {
        Ok(kcat) => Some(kcat),
        Err(why) => {
            skip(test, "kcat", &why);
            None
        }
    }
}

fn on_path() -> Option<Kcat> {
    let names = ["kcat", "kafkacat"].into_iter();
    let candidates = names.map(|name| Kcat { program: PathBuf::from(name), libraries: None });
    candidates.into_iter().find(|kcat| kcat.runs().is_ok())
}

fn fetched() -> Result<Kcat, String> {
    let folder = clients_folder().join("kcat");
    let root = folder.join("root");
    let triple = format!("{}-linux-gnu", env::consts::ARCH);
    let libraries = format!("{0}/usr/lib/{triple}:{0}/lib/{triple}", root.display());
    let kcat = Kcat { program: root.join("usr/bin/kcat"), libraries: Some(libraries) };
    if kcat.runs().is_ok() {
        return Ok(kcat);
    }
    fs::create_dir_all(&root).map_err(|error| error.to_string())?;
    run(Command::new("apt-get").arg("download").args(missing_packages()?).current_dir(&folder))?;
    for entry in fs::read_dir(&folder).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&path).arg(&root))?;
        }
    }
    kcat.runs()?;
    Ok(kcat)
}

/// What an installation would add to this machine: kcat and those of its libraries that are not here.
fn missing_packages() -> Result<Vec<String>, String> {
    let mut simulated = Command::new("apt-get");
    let plan = run(simulated.args(["--simulate", "-qq", "--no-install-recommends", "install", "kcat"]))?;
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() { Err("it is installed and does not run".to_owned()) } else { Ok(names) }
}

impl Kcat {
    fn runs(&self) -> Result<String, String> {
        run(self.command().arg("-V"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.envs(self.libraries.as_ref().map(|libraries| ("LD_LIBRARY_PATH", libraries)));
        command
    }

    /// Starts it with pipes to all that it reads and prints.
    #[track_caller]
    pub(crate) fn start(&self, bootstrap: &str, arguments: &[&str]) -> Child {
        let mut command = self.command();
        command.args(["-b", bootstrap]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs it with `input` and gives what it printed; fails where it does.
    #[track_caller]
    pub(crate) fn run(&self, bootstrap: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = self.start(bootstrap, arguments);
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // From a thread: it may print before it has read everything.
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        assert!(status.success(), "kcat {arguments:?}: {status}: {}", String::from_utf8_lossy(&stderr));
        writer.join().unwrap().unwrap();
        stdout
    }
}
