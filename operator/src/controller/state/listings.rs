//! How the first lists of the watches went: what is not listed is not known.

use super::State;

/// How the first list of a watch went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// No answer yet.
    Pending,
    /// It was listed; the watch goes on from there.
    Listed,
    /// The cluster does not serve the kind, so there are no objects of it.
    Absent,
    /// It cannot be listed, for instance because a right is missing.
    Failed(String),
}

impl State {
    /// Takes in how listing the objects of a kind went.
    pub fn put_listing(&mut self, kind: &'static str, listing: Listing) {
        self.listings.insert(kind, listing);
    }

    /// Takes in how listing the CRs of a namespace (`None` means all) went. What was listed once is followed from then on.
    pub fn put_cr_listing(&mut self, namespace: Option<&str>, listing: Listing) {
        let namespace = namespace.map(str::to_owned);
        let before = self
            .cr_listings
            .entry(namespace)
            .or_insert(Listing::Pending);
        if *before != Listing::Listed {
            *before = listing;
        }
    }

    /// Whether all CRs were listed. Before that, what one of them needs might look as if nobody needed it.
    pub fn has_crs(&self) -> bool {
        let mut listings = self.cr_listings.values();
        listings.all(|listing| *listing == Listing::Listed)
    }

    /// Whether listing the objects of every kind was answered.
    pub fn has_objects(&self) -> bool {
        let mut listings = self.listings.values().chain(self.users.listings());
        listings.all(|listing| *listing != Listing::Pending)
    }

    /// What is not known although it should be, and why.
    pub fn unlisted(&self) -> Vec<String> {
        let of_namespace = |namespace: &Option<String>| match namespace {
            Some(namespace) => format!("IstioOperators in {namespace}"),
            None => "IstioOperators".to_owned(),
        };
        let crs = self.cr_listings.iter();
        let crs = crs.map(|(namespace, listing)| (of_namespace(namespace), listing, true));
        let kinds = self.listings.iter();
        let kinds = kinds.map(|(kind, listing)| ((*kind).to_owned(), listing, false));
        let unlisted = crs.chain(kinds).filter_map(|(what, listing, must_be)| {
            let why = match listing {
                Listing::Listed => return None,
                Listing::Absent if !must_be => return None,
                Listing::Absent => "the cluster does not serve this kind",
                Listing::Pending => "not listed yet",
                Listing::Failed(why) => why,
            };
            Some(format!("{what}: {why}"))
        });
        unlisted.collect()
    }
}
