//! Random valid `IstioOperator`s: fields drawn from the schema that `merge` checks CRs with.
//!
//! A field is chosen by the schema, its value by its type, and by [`samples`] where a type says too
//! little: a text that stands for an enum, a list of free-form maps.

pub mod cr;
pub mod overlays;
pub mod samples;
pub mod schema;

use fastrand::Rng;
use istio_operator::{charts::Charts, render::Rendered};
use serde_json::Value;

use schema::Sampler;

/// The CR of this number, and what it was drawn with: the same for one seed, in whatever order they are asked for. One in
/// three has overlays of what it renders without them.
pub fn numbered_cr(
    charts: &Charts,
    minor: u16,
    (seed, index): (usize, usize),
    render: impl Fn(&Value) -> Option<Rendered>,
) -> (Sampler<'_>, Value) {
    // Multiplying by the golden ratio spreads neighbors over all numbers.
    let spread = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let rng = Rng::with_seed(u64::try_from(seed ^ spread).unwrap());
    let mut sampler = Sampler::new(rng, charts, minor);
    let mut cr = cr::cr(&mut sampler);
    if sampler.rng.usize(..3) == 0
        && let Some(rendered) = render(&cr)
    {
        overlays::add(&mut sampler, &mut cr, &rendered);
    }
    (sampler, cr)
}
