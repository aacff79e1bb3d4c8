//! Folders that change.

use super::{SERVICE, checkout, folder};
use crate::source::manifest::watch;
use std::fs;
use tokio::sync::mpsc;

#[tokio::test]
async fn watching_sends_what_is_there_and_then_each_change() {
    let dir = folder(&[("a.yaml", SERVICE)]);
    let (out, mut readings) = mpsc::channel(4);
    let watching = tokio::spawn(watch(dir.path().to_owned(), out));
    assert_eq!(readings.recv().await.unwrap().unwrap().services.len(), 1);

    let other = SERVICE.replace("name: checkout", "name: cart");
    fs::write(dir.path().join("b.yaml"), other).unwrap();
    assert_eq!(readings.recv().await.unwrap().unwrap().services.len(), 2);

    fs::write(dir.path().join("b.yaml"), "kind: [").unwrap();
    let wrong = readings.recv().await.unwrap().unwrap_err();
    assert_eq!(wrong[0].file, "b.yaml");

    fs::remove_file(dir.path().join("b.yaml")).unwrap();
    assert_eq!(readings.recv().await.unwrap().unwrap().services.len(), 1);

    fs::write(dir.path().join(".c.yaml.swp"), "kind: [").unwrap();
    fs::write(dir.path().join("a.yaml"), SERVICE.replace("8080", "8081")).unwrap();
    let catalog = readings.recv().await.unwrap().unwrap();
    assert_eq!(catalog.services[&checkout()].ports[0].target_port, 8081);

    drop(readings);
    watching.await.unwrap();
}

#[tokio::test]
async fn watching_outlives_its_folder() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("manifests");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.yaml"), SERVICE).unwrap();
    let (out, mut readings) = mpsc::channel(4);
    let watching = tokio::spawn(watch(dir.clone(), out));
    assert!(readings.recv().await.unwrap().is_ok());
    fs::rename(&dir, parent.path().join("elsewhere")).unwrap();
    assert!(readings.recv().await.unwrap().is_err());
    fs::rename(parent.path().join("elsewhere"), &dir).unwrap();
    assert!(readings.recv().await.unwrap().is_ok());
    drop(readings);
    watching.await.unwrap();
}

#[tokio::test]
async fn a_folder_put_in_the_place_of_another_is_watched_like_that() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, link) = (parent.path().join("first"), parent.path().join("manifests"));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.yaml"), SERVICE).unwrap();
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let (out, mut readings) = mpsc::channel(4);
    let watching = tokio::spawn(watch(link.clone(), out));
    assert!(readings.recv().await.unwrap().is_ok());
    let second = parent.path().join("second");
    fs::create_dir(&second).unwrap();
    let changed = SERVICE.replace("8080", "8081");
    fs::write(second.join("a.yaml"), changed).unwrap();
    std::os::unix::fs::symlink(&second, parent.path().join("new")).unwrap();
    fs::rename(parent.path().join("new"), &link).unwrap();
    let catalog = readings.recv().await.unwrap().unwrap();
    assert_eq!(catalog.services[&checkout()].ports[0].target_port, 8081);
    fs::write(second.join("a.yaml"), SERVICE).unwrap();
    let catalog = readings.recv().await.unwrap().unwrap();
    assert_eq!(catalog.services[&checkout()].ports[0].target_port, 8080);
    drop(readings);
    watching.await.unwrap();
}
