//! kcat lists, writes and reads.

use cluster::{Cluster, Shape};

#[test]
fn kcat_lists_the_cluster_and_reads_back_what_it_wrote() {
    let Some(kcat) = kastle_clients::kcat().expect("kcat") else { return };
    let cluster = Cluster::start(Shape::of(3)).expect("three nodes");
    let bootstrap = cluster.bootstrap();
    let run = |arguments: &[&str], input: &str| {
        let arguments = [&["-b", &bootstrap], arguments].concat();
        let output = kcat.run(&arguments, input.as_bytes()).expect("kcat succeeds");
        String::from_utf8(output).expect("UTF-8")
    };
    let listing = run(&["-L"], "");
    assert!(listing.contains("3 brokers:"), "{listing}");
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("kcat-{codec}");
        let lines: String = (0..500).map(|number| format!("k{number}:v{number}\n")).collect();
        let header = "origin=kcat";
        run(&["-P", "-t", &topic, "-p", "0", "-K:", "-z", codec, "-H", header, "-X", "acks=all"], &lines);
        let format = "%k:%s\n";
        let read = run(&["-C", "-t", &topic, "-p", "0", "-o", "beginning", "-e", "-q", "-f", format], "");
        assert_eq!(read, lines, "{codec}");
        let headers = run(&["-C", "-t", &topic, "-p", "0", "-o", "499", "-c", "1", "-q", "-f", "%o %h"], "");
        assert_eq!(headers, "499 origin=kcat", "{codec}");
    }
    let end = run(&["-Q", "-t", "kcat-none:0:-1"], "");
    assert!(end.contains("offset 500"), "{end}");
}
