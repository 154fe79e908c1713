//! SRTP: nothing from outside is genuine, and what we protect comes back as it was, once, unless a bit
//! of it has changed.

use super::steps::Steps;
use leasebridge::domain::srtp::Suite;
use leasebridge::rtp::srtp::{MAX_GROWTH, MAX_MASTER, MasterKey, Receiver, Sender};

pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let suite = steps.pick(&Suite::ALL);
    let place = usize::from(steps.byte());
    let packet = steps.rest();
    let key = MasterKey::made(suite, &[0x5a; MAX_MASTER]);
    let mut sender = Sender::new(&key).expect("a key of its suite");
    let mut receiver = Receiver::new(&key).expect("a key of its suite");
    let mut spare = vec![0; packet.len()];
    let mut bytes = packet.to_vec();
    assert!(
        receiver.unprotect(&mut bytes, &mut spare).is_err(),
        "forged"
    );
    assert!(
        receiver.unprotect_rtcp(&mut packet.to_vec()).is_err(),
        "forged"
    );

    let mut bytes = packet.to_vec();
    bytes.resize(packet.len() + MAX_GROWTH, 0);
    if let Ok(length) = sender.protect(&mut bytes, packet.len()) {
        bytes.truncate(length);
        let mut changed = bytes.clone();
        changed[place % length] ^= 1;
        let mut spare = vec![0; length];
        assert!(
            receiver.unprotect(&mut changed, &mut spare).is_err(),
            "changed"
        );
        let again = bytes.clone();
        let left = receiver.unprotect(&mut bytes, &mut spare).expect("our own");
        assert_eq!(&bytes[..left], packet);
        assert!(
            receiver.unprotect(&mut again.clone(), &mut spare).is_err(),
            "twice"
        );
    }
    let mut bytes = packet.to_vec();
    bytes.resize(packet.len() + MAX_GROWTH, 0);
    if let Ok(length) = sender.protect_rtcp(&mut bytes, packet.len()) {
        bytes.truncate(length);
        let mut changed = bytes.clone();
        changed[place % length] ^= 1;
        assert!(receiver.unprotect_rtcp(&mut changed).is_err(), "changed");
        let left = receiver.unprotect_rtcp(&mut bytes).expect("our own");
        assert_eq!(&bytes[..left], packet);
    }
}
