use prunella_simulate::*;
fn main() {
    let mut o = std::io::stdout().lock();
    let a: Vec<String> = std::env::args().collect();
    let t = Traffic::new(a[2].parse().unwrap(), prunella_schemas::Timestamp(1_795_143_600_000));
    let s = write_records(&t, a[1].parse().unwrap(), a[3].parse().unwrap(), &mut o).unwrap();
    eprintln!("{s:?}");
}
