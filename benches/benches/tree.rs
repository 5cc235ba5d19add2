//! Trees: a folder of 1,000 files, to JSON and back.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use one_restic_benches::index::id;
use restic_repo::node::{Mode, Node, NodeType};
use restic_repo::time::Timestamp;
use restic_repo::tree::{Tree, TreeBuilder};

const NODES: u32 = 1000;

fn node(number: u32) -> Node {
    let name = format!("file number {number:04}.txt");
    let mut node = Node::new(name.as_str(), NodeType::File);
    let time = Timestamp::from_unix(1_700_000_000 + i64::from(number), 123_456_789);
    node.mode = Mode::from_bits(0o644);
    (node.mtime, node.atime, node.ctime) = (time, time, time);
    (node.uid, node.gid) = (1000, 1000);
    (node.user, node.group) = ("operator".into(), "operator".into());
    (node.inode, node.device_id, node.links) = (u64::from(number) + 10_000, 64_769, 1);
    node.size = 100_000;
    node.content = Some(vec![id(u64::from(number))]);
    node
}

fn tree(criterion: &mut Criterion) {
    let nodes: Vec<Node> = (0..NODES).map(node).collect();
    let tree = Tree::from_nodes(nodes.clone()).expect("all names differ");
    let json = tree.encode();
    let mut group = criterion.benchmark_group("tree");
    group.throughput(Throughput::Elements(u64::from(NODES)));
    group.bench_function("encode", |bencher| bencher.iter(|| black_box(&tree).encode()));
    group.bench_function("build node by node", |bencher| {
        bencher.iter(|| {
            let mut builder = TreeBuilder::new();
            for node in black_box(&nodes) {
                builder.push(node).expect("they are in order");
            }
            builder.finish()
        });
    });
    group.bench_function("decode", |bencher| bencher.iter(|| Tree::decode(black_box(&json))));
    assert!(Tree::decode(&json).is_ok_and(|again| again == tree), "the bench measures failures");
}

criterion_group!(benches, tree);
criterion_main!(benches);
