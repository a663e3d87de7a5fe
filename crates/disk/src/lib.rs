//! What Cloakroom's stores on a disk share: private folders, durable file
//! operations, background threads that run jobs, the recovery of a database whose disk has
//! failed, and short work that leaves the caller's thread alone once the disk turns out to
//! be slow.
//!
//! ```
//! use cloakroom_disk::{JobThreads, check_private_folder, make_private_folder, replace_file};
//!
//! # fn main() -> std::io::Result<()> {
//! # let temporary = tempfile::tempdir()?;
//! # let home = temporary.path();
//! let folder = home.join("sessions");
//! make_private_folder(&folder)?;
//! check_private_folder(&folder)?;
//!
//! // The disk is waited for on a thread of its own, not on the caller's.
//! let threads = JobThreads::start("example", 1)?;
//! let written = threads.run(move || replace_file(&folder.join("state"), b"open"));
//! futures_executor::block_on(written).expect("the job did not panic")?;
//! // From here on the file is there after a crash, and whole.
//! # Ok(())
//! # }
//! ```
//!
//! On Unix, folders and files that this crate makes are for their owner alone (modes
//! 0700 and 0600). On other systems the folder around them decides who may enter.
//!
//! A new name, or the loss of one, reaches the disk when the folder that holds it is
//! synced. A function here syncs that folder before it returns, unless its
//! documentation says otherwise. Errors are the system's; those about folders name the
//! path.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod deadlines;
mod file;
mod folder;
mod inline;
mod jobs;
mod next_step;
mod permits;
mod private;
mod recovery;
mod waiting;

pub use file::{
    FileIdentity, StagedFile, is_damage, make_private_file, private_options, remove_file,
    replace_file, reread_from_disk,
};
pub use folder::{make_private_folder, make_private_folder_unsynced, sync_folder};
pub use inline::{InlineWork, NotDone};
pub use jobs::{Job, JobLost, JobThreads, Reply};
pub use next_step::next_step;
pub use private::{check_access, check_private_file, check_private_folder, refuse_group_rights};
pub use recovery::{Handle, Recovery};
