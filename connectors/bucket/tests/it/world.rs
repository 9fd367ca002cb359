//! A bucket in memory: times in whole seconds, small pages, faults on demand.

use prunella_bucket::{Bucket, BucketError, Listed, Listing, Reader};
use prunella_schemas::port::{Cursor, Page, SourceError};
use prunella_schemas::{Tenant, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// How long a blob of lines grows.
pub const GROWS_MS: i64 = 3_600_000;

#[derive(Clone, Debug, Default)]
pub struct Blob {
    pub bytes: Vec<u8>,
    pub modified_ms: i64,
    pub born_ms: i64,
    pub version: u64,
    pub grows: bool,
    pub unreadable: bool,
}

/// What happens in the bucket.
#[derive(Clone, Debug)]
pub enum Event {
    /// A whole object appears, or takes the place of another.
    Put {
        name: String,
        bytes: Vec<u8>,
    },
    /// A blob of lines gets more bytes, and appears if it was not there.
    Append {
        name: String,
        bytes: Vec<u8>,
    },
    /// A blob of lines goes, and another begins under its name.
    Replace {
        name: String,
        bytes: Vec<u8>,
    },
    Delete {
        name: String,
    },
    Pass {
        ms: i64,
    },
    /// Time passes while our machine sleeps.
    Sleep {
        ms: i64,
    },
}

#[derive(Default)]
pub struct World {
    pub now_ms: i64,
    uptime_ms: i64,
    pub blobs: BTreeMap<String, Blob>,
    versions: u64,
    /// Happens between the pages of listings, one at a time.
    pub meanwhile: VecDeque<Event>,
    pub page_objects: usize,
    /// Calls from now until one fails.
    pub fails_in: Option<u32>,
    pub fetches: u64,
}

#[derive(Clone, Default)]
pub struct Place(pub Arc<Mutex<World>>);

impl World {
    pub fn happen(&mut self, event: Event) {
        self.versions += 1;
        // The service tells seconds.
        let (version, at) = (self.versions, self.now_ms / 1_000 * 1_000);
        match event {
            Event::Put { name, bytes } => {
                let blob = Blob { bytes, modified_ms: at, born_ms: at, version, ..Blob::default() };
                self.blobs.insert(name, blob);
            }
            Event::Append { name, bytes } => {
                let fresh = Blob { born_ms: self.now_ms, grows: true, ..Blob::default() };
                let blob = self.blobs.entry(name).or_insert(fresh);
                // Half a line is completed first.
                if blob.bytes.last().is_some_and(|last| *last != b'\n') {
                    blob.bytes.extend(b"}\n");
                }
                blob.bytes.extend(bytes);
                (blob.modified_ms, blob.version) = (at, version);
            }
            Event::Replace { name, bytes } => {
                let born_ms = self.now_ms + i64::try_from(version).unwrap();
                self.blobs.insert(
                    name,
                    Blob { bytes, modified_ms: at, born_ms, version, grows: true, unreadable: false },
                );
            }
            Event::Delete { name } => drop(self.blobs.remove(&name)),
            Event::Pass { ms } => {
                self.now_ms += ms;
                self.uptime_ms += ms;
            }
            Event::Sleep { ms } => self.now_ms += ms,
        }
    }

    fn called(&mut self) -> Result<(), BucketError> {
        match &mut self.fails_in {
            Some(0) => {
                self.fails_in = None;
                Err(BucketError::Unavailable("the line is cut".into()))
            }
            Some(calls) => {
                *calls -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Place {
    pub fn at(now_ms: i64) -> Self {
        let place = Place::default();
        (place.0.lock().unwrap().now_ms, place.0.lock().unwrap().page_objects) = (now_ms, 3);
        place
    }

    pub fn happen(&self, event: Event) {
        self.0.lock().unwrap().happen(event);
    }

    /// A reader as a start of the program makes it.
    pub fn reader(&self) -> Reader<Place> {
        let world = Arc::clone(&self.0);
        Reader::new("test", Tenant::default(), Timestamp::ZERO, vec![("only".into(), self.clone())])
            .with_uptime(move || world.lock().unwrap().uptime_ms)
    }

    /// Reads until there is nothing more.
    pub async fn read_all(
        &self,
        reader: &Reader<Place>,
        cursor: &mut Cursor,
    ) -> Result<Vec<Page>, SourceError> {
        let mut pages = Vec::new();
        loop {
            let page = reader.read(cursor).await?;
            *cursor = page.next.clone();
            let caught_up = page.caught_up;
            pages.push(page);
            if caught_up || pages.len() > 1_000 {
                return Ok(pages);
            }
        }
    }
}

pub fn bodies(pages: &[Page]) -> Vec<String> {
    let bodies = pages.iter().flat_map(|page| &page.bodies);
    bodies.map(|body| String::from_utf8(body.upload.body.clone()).unwrap()).collect()
}

#[async_trait::async_trait]
impl Bucket for Place {
    fn origin(&self, name: &str) -> String {
        format!("memory:{name}")
    }

    async fn list(&self, from: Option<&str>) -> Result<Listing, BucketError> {
        let mut world = self.0.lock().unwrap();
        world.called()?;
        let answered = Some(Timestamp(world.now_ms / 1_000 * 1_000));
        let (from, page_objects) = (from.unwrap_or_default().to_owned(), world.page_objects);
        let rest = world.blobs.range(from..);
        let mut rest: VecDeque<Listed> = rest
            .take(page_objects + 1)
            .map(|(name, blob)| Listed {
                name: name.clone(),
                modified: Timestamp(blob.modified_ms),
                born: Timestamp(blob.born_ms),
                bytes: blob.bytes.len() as u64,
                version: blob.version.to_string(),
                closes: blob.grows.then(|| Timestamp(blob.born_ms + GROWS_MS)),
                tells: None,
            })
            .collect();
        let next = rest.remove(page_objects).map(|object| object.name);
        if let Some(event) = world.meanwhile.pop_front() {
            world.happen(event);
        }
        Ok(Listing { objects: rest.into(), next, answered })
    }

    async fn fetch(&self, object: &Listed, range: Range<u64>) -> Result<Vec<u8>, BucketError> {
        let mut world = self.0.lock().unwrap();
        world.called()?;
        world.fetches += 1;
        let changed = || BucketError::Changed("it is another".into());
        let blob = world.blobs.get(&object.name).ok_or_else(changed)?;
        if blob.unreadable {
            return Err(BucketError::Unreadable("nobody has the key".into()));
        }
        let same = match object.closes {
            None => blob.version.to_string() == object.version,
            Some(_) => blob.born_ms == object.born.millis(),
        };
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let bytes = blob.bytes.get(range).filter(|_| same).ok_or_else(changed)?;
        Ok(bytes.to_vec())
    }
}
