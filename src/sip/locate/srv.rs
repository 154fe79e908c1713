//! Which of several hops goes first: by rank, then by weight (RFC 2782, "Weight").

use super::Hop;
use smallvec::SmallVec;

/// The hops in the order in which one request tries them. `draw(n)` is a random figure from 0 to
/// `n`, both included. Within a rank a server goes before another as often as its weight says;
/// addresses of one server stay together.
pub fn arrange(hops: &[Hop], draw: &mut dyn FnMut(u64) -> u64) -> SmallVec<[Hop; 4]> {
    let mut arranged = SmallVec::new();
    for group in hops.chunk_by(|one, other| one.rank == other.rank) {
        let mut servers: SmallVec<[(u16, u64); 4]> = SmallVec::new();
        for hop in group {
            if servers.iter().all(|(server, _)| *server != hop.server) {
                servers.push((hop.server, u64::from(hop.weight)));
            }
        }
        // "All those with weight 0 are placed at the beginning of the list."
        servers.sort_by_key(|(_, weight)| *weight > 0);
        while !servers.is_empty() {
            let chosen = choose(&servers, draw);
            let (server, _) = servers.remove(chosen);
            arranged.extend(group.iter().copied().filter(|hop| hop.server == server));
        }
    }
    arranged
}

/// The first whose running sum of weights reaches the figure drawn.
fn choose(servers: &[(u16, u64)], draw: &mut dyn FnMut(u64) -> u64) -> usize {
    if servers.len() == 1 {
        return 0;
    }
    let total = servers.iter().map(|(_, weight)| *weight).sum();
    let drawn = draw(total);
    let mut sum: u64 = 0;
    let reached = servers.iter().position(|(_, weight)| {
        sum = sum.saturating_add(*weight);
        sum >= drawn
    });
    reached.unwrap_or(0)
}
