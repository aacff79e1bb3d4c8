//! The state folder as a killed process leaves it: every prefix of a turn's writes, in the order in
//! which they were really made, and the next one torn.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// All files below a folder but the lock, by path within it.
pub(crate) type Image = BTreeMap<PathBuf, Vec<u8>>;

/// A folder on the fastest disk there is: the journal syncs after every write.
pub(crate) fn folder() -> io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::TempDir::with_prefix_in("segue-simulation-", memory)
    } else {
        tempfile::TempDir::with_prefix("segue-simulation-")
    }
}

/// A state file of the control plane, in its format 2.
pub(crate) fn sealed(kind: &str, numbers: &[u8]) -> String {
    let body = format!("{numbers:?}");
    let mut digest = String::new();
    for byte in Sha256::digest(&body) {
        // Writing to a String can't fail.
        let _infallible = write!(digest, "{byte:02x}");
    }
    format!("{{\"segue\":\"{kind}\",\"version\":2,\"sha256\":\"{digest}\"}}\n{body}")
}

pub(crate) fn read(root: &Path) -> io::Result<Image> {
    let mut image = Image::new();
    for path in walk(root)?.1 {
        if let Ok(within) = path.strip_prefix(root)
            && within != Path::new("lock")
        {
            image.insert(within.to_owned(), fs::read(&path)?);
        }
    }
    Ok(image)
}

/// Makes a folder hold exactly an image.
pub(crate) fn write(root: &Path, image: &Image) -> io::Result<()> {
    for within in read(root)?.keys().filter(|path| !image.contains_key(*path)) {
        fs::remove_file(root.join(within))?;
    }
    for (within, bytes) in image {
        let path = root.join(within);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// The folders and the files below a folder, itself among them.
fn walk(root: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut folders, mut files) = (vec![root.to_owned()], Vec::new());
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        next += 1;
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    Ok((folders, files))
}

/// Watches which files are written, in order.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
    root: PathBuf,
    folders: BTreeMap<WatchDescriptor, PathBuf>,
}

impl Watch {
    pub(crate) fn new(root: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let mut folders = BTreeMap::new();
        let flags = AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_CREATE;
        for folder in walk(root)?.0 {
            folders.insert(inotify.add_watch(&folder, flags)?, folder);
        }
        Ok(Self {
            inotify,
            root: root.to_owned(),
            folders,
        })
    }

    /// The files written since, in order; what is beside its place does not count. Files of a
    /// folder made meanwhile stand where the folder was made.
    pub(crate) fn writes(&self) -> io::Result<Vec<PathBuf>> {
        let mut writes: Vec<PathBuf> = Vec::new();
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(nix::errno::Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            };
            for event in events {
                let (Some(folder), Some(name)) = (self.folders.get(&event.wd), &event.name) else {
                    continue;
                };
                let path = folder.join(name);
                if event.mask.contains(AddWatchFlags::IN_ISDIR) {
                    writes.extend(walk(&path)?.1);
                } else if !event.mask.contains(AddWatchFlags::IN_CREATE)
                    && path.extension().is_none_or(|extension| extension != "tmp")
                {
                    writes.push(path);
                }
            }
        }
        // A file that was written twice counts where it got its last content.
        let mut seen = std::collections::BTreeSet::new();
        writes.reverse();
        writes.retain(|path| seen.insert(path.clone()));
        writes.reverse();
        let within = |path: PathBuf| Some(path.strip_prefix(&self.root).ok()?.to_owned());
        Ok(writes.into_iter().filter_map(within).collect())
    }
}

/// The folder after some of the writes, the next one perhaps half made.
pub(crate) fn torn(
    before: &Image,
    after: &Image,
    writes: &[PathBuf],
    rng: &mut fastrand::Rng,
) -> (Image, usize) {
    let made = rng.usize(..=writes.len());
    let mut image = before.clone();
    for path in writes.iter().take(made) {
        match after.get(path) {
            Some(bytes) => image.insert(path.clone(), bytes.clone()),
            None => image.remove(path),
        };
    }
    if let Some(path) = writes.get(made)
        && let Some(bytes) = after.get(path)
        && rng.bool()
    {
        let old = before.get(path).map_or(0, Vec::len);
        // The decision log's files begin whole, and grow.
        let grows = |extension| extension == "jsonl" || extension == "looks";
        let appended = old > 0 && path.extension().is_some_and(grows);
        let (path, from) = if appended {
            (path.clone(), old.min(bytes.len()))
        } else {
            (path.with_extension("tmp"), 0)
        };
        let cut = rng.usize(from..=bytes.len());
        image.insert(path, bytes.iter().take(cut).copied().collect());
    }
    (image, made)
}
