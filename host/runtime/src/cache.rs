//! Compiled code between two lives of the process.
//!
//! ```text
//! cache/key                  32 random bytes, made once, readable by the owner only
//! cache/{engine}-{digest}    "TDMLCODE" · code 32 bytes · artefact      code = HMAC-SHA-256(key, "TDMLCODE" · engine · digest · artefact)
//! ```
//! An artefact is machine code that will be run. So a file counts only if its code proves that this host wrote it, for these engine
//! settings and this component; anything else is as if it were not there, and is written anew. Nothing here is worth a sync to disk.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::artefact::Artefact;
use crate::digest::{Digest, hex};

const MAGIC: &[u8; 8] = b"TDMLCODE";
const CODE_BYTES: usize = 32;

/// A folder of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; 32],
    engine: [u8; 32],
}

impl Cache {
    /// Makes the folder and the key if they are missing.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut identity = IdentityHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut identity);
        Ok(Self { folder: folder.to_owned(), key: key(&folder.join("key"))?, engine: identity.0.finalize().into() })
    }

    /// The component, if it was stored here for this engine. A file that is not what this host wrote is reported and passed over.
    pub(crate) fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(digest);
        let file = match fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code cannot be read; compiling again");
                return None;
            }
        };
        let Some(artefact) = self.authenticate(&file, digest) else {
            tracing::warn!(path = %path.display(), "compiled code was not written by this host or is damaged; compiling again");
            return None;
        };
        let component = crate::boundary::deserialize(engine, artefact);
        component
            .map_err(|error| tracing::warn!(path = %path.display(), %error, "compiled code does not load; compiling again"))
            .ok()
    }

    /// Keeps compiled code. Failing to is no failure: it will be compiled again.
    pub(crate) fn store(&self, artefact: Artefact<'_>, digest: &Digest) {
        if let Err(error) = self.try_store(artefact.bytes(), digest) {
            tracing::warn!(folder = %self.folder.display(), %error, "compiled code cannot be kept");
        }
    }

    fn try_store(&self, artefact: &[u8], digest: &Digest) -> io::Result<()> {
        // Named by the process, so that two do not write into each other's; the rename decides.
        let path = self.path(digest);
        let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
        let mut file = File::create(&unfinished)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.code(digest, artefact).finalize().into_bytes())?;
        file.write_all(artefact)?;
        drop(file);
        fs::rename(&unfinished, &path)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}-{}", hex(&self.engine[..8]), digest.hex()))
    }

    /// The message authentication code over all that makes an artefact the right one, not yet finished.
    fn code(&self, digest: &Digest, artefact: &[u8]) -> Hmac<Sha256> {
        let code = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key may have any length");
        code.chain_update(MAGIC).chain_update(self.engine).chain_update(digest.as_bytes()).chain_update(artefact)
    }

    fn authenticate<'a>(&self, file: &'a [u8], digest: &Digest) -> Option<Artefact<'a>> {
        let (found, artefact) = file.strip_prefix(MAGIC)?.split_first_chunk::<CODE_BYTES>()?;
        // In the same time wherever they differ.
        self.code(digest, artefact).verify_slice(found).ok()?;
        Some(Artefact::authenticated(artefact))
    }
}

/// Reads the key, or makes one.
fn key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    match File::open(path) {
        Ok(mut file) if file.metadata()?.len() == 32 => {
            file.read_exact(&mut key)?;
            return Ok(key);
        }
        // Cut off when it was made: what was stored under it is lost, and compiled again.
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(&key)?;
    Ok(key)
}

/// Turns what wasmtime hashes about its settings into 32 bytes that mean the same in every process.
struct IdentityHasher(Sha256);

impl Hasher for IdentityHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Nobody asks: the digest is taken from the field.
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_kept_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let first = key(&path).expect("a key");
        assert_eq!(key(&path).expect("the key"), first);
        assert_ne!(first, [0; 32]);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("a file").permissions()) & 0o777, 0o600);
        fs::write(&path, b"short").expect("written");
        assert_ne!(key(&path).expect("another key"), first);
    }
}
