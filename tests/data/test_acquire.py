from __future__ import annotations

import os
from pathlib import Path

import pytest

from kpbe.core.files import read_csv
from kpbe.data.acquire import acquire
from kpbe.data.clips import make_clip_id
from kpbe.data.raw import parse_bbox, plain_name, read_raw_videos
from kpbe.errors import KPBEError
from kpbe.params import DataParams, SampleParams


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """The repository root as working directory, with a folder `videos` of empty files."""
    monkeypatch.chdir(tmp_path)
    folder = Path("videos")
    for name in (
        "anna/1.mp4",
        "anna/2.MOV",
        "bert/talks/1.mkv",
        "carl.webm",
        "anna/notes.txt",
        ".trash/x.mp4",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def folder_params(**values) -> DataParams:
    return DataParams(**{"source": "folder", "root": Path("videos"), "detector": "yunet", **values})


def listed(text: str, **values) -> DataParams:
    Path("list.csv").write_text(text)
    return folder_params(list=Path("list.csv"), **values)


def names(videos):
    return [(str(v.path), v.identity, v.video_id) for v in videos]


def test_a_folder_is_searched_and_split_by_identity(root):
    videos = acquire(folder_params(), Path("raw"))
    assert names(videos) == [
        ("videos/anna/1.mp4", "anna", "1"),
        ("videos/anna/2.MOV", "anna", "2"),
        ("videos/bert/talks/1.mkv", "bert", "talks-1"),
        ("videos/carl.webm", "carl", "carl"),
    ]
    test = {v.identity for v in videos if v.split == "test"}
    assert len(test) == 1
    assert test.isdisjoint(v.identity for v in videos if v.split == "train")
    assert read_raw_videos(Path("raw")) == videos


def test_the_same_files_give_the_same_list(root):
    acquire(folder_params(), Path("raw"))
    acquire(folder_params(), Path("again"))
    assert Path("raw/videos.csv").read_bytes() == Path("again/videos.csv").read_bytes()


def test_hidden_folders_are_left_alone(root):
    assert all("trash" not in str(video.path) for video in acquire(folder_params(), Path("raw")))


def test_paths_of_a_list_count_from_the_root_or_the_repository(root):
    Path("elsewhere.mp4").touch()
    videos = acquire(
        listed("path,identity,split\nanna/1.mp4,Anna K.,train\nelsewhere.mp4,bert,test\n"), Path("raw")
    )
    assert names(videos) == [
        ("videos/anna/1.mp4", "Anna-K", "anna-1"),
        ("elsewhere.mp4", "bert", "elsewhere"),
    ]
    assert [video.split for video in videos] == ["train", "test"]


def test_a_missing_file_is_rejected_and_the_others_go_on(root):
    text = "path,identity,split\nanna/1.mp4,anna,train\nanna/9.mp4,anna,train\ncarl.webm,carl,test\n"
    assert len(acquire(listed(text), Path("raw"))) == 2
    (rejected,) = read_csv(Path("raw/rejected.csv"))
    assert rejected["path"] == "anna/9.mp4" and "no such file" in rejected["reason"]
    with pytest.raises(KPBEError, match=r"anna/9\.mp4"):
        acquire(listed(text, max_rejected_fraction=0.1), Path("raw"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("path,person,split\nanna/1.mp4,a,train\n", "no column identity"),
        ("path,identity,split\n", "must have rows"),
        ("path,identity,split\nanna/1.mp4,a,dev\n", "line 2: split is 'dev'"),
        ("path,identity,split\nanna/1.mp4,,train\n", "line 2: path and identity"),
        ("path,identity,split\nanna/1.mp4,a,train\ncarl.webm,b,test\nanna/1.mp4,a,train\n", "line 4.*line 2"),
        ("path,identity,split\nanna/1.mp4,a,train\ncarl.webm,a,test\n", "a in both train and test"),
    ],
)
def test_a_wrong_list_is_explained_in_one_sentence(root, text, complaint):
    with pytest.raises(KPBEError, match=complaint) as error:
        acquire(listed(text), Path("raw"))
    assert "\n" not in str(error.value)
    assert not Path("raw/videos.csv").exists()


def test_videos_whose_clips_would_share_a_name_are_told_apart(root):
    (root / "anna" / "1.mkv").touch()
    videos = acquire(folder_params(), Path("raw"))
    assert len(videos) == 4
    (rejected,) = read_csv(Path("raw/rejected.csv"))
    assert rejected["path"] == "videos/anna/1.mp4" and "videos/anna/1.mkv" in rejected["reason"]


def test_folders_that_cannot_be_split_are_refused(root):
    with pytest.raises(KPBEError, match="does not exist"):
        acquire(folder_params(root=Path("nowhere")), Path("raw"))
    with pytest.raises(KPBEError, match="one identity, talks"):
        acquire(folder_params(root=root / "bert"), Path("raw"))
    (root / "empty").mkdir()
    with pytest.raises(KPBEError, match="no videos"):
        acquire(folder_params(root=root / "empty"), Path("raw"))


def test_voxceleb_rows_keep_their_crop_and_reference_size(root):
    Path("meta.csv").write_text(
        "video_id,start,end,bbox,fps,width,height,partition,person_id\n"
        "carl,50,150,100-20-400-320,25,1280,720,train,id10001\n"
        "lost,50,150,100-20-400-320,25,1280,720,test,id10270\n"
    )
    data = DataParams(source="voxceleb1", root=root, metadata=Path("meta.csv"))
    (video,) = acquire(data, Path("raw"))
    (read,) = read_raw_videos(Path("raw"))
    assert read == video
    assert (read.bbox, read.width, read.height, read.start, read.end) == (
        (100, 20, 400, 320),
        1280,
        720,
        50,
        150,
    )
    assert read.source_url.endswith("carl")
    assert [row["clip_id"] for row in read_csv(Path("raw/rejected.csv"))] == ["id10270#lost#000050#000150"]


@pytest.mark.slow
def test_the_sample_lists_videos_with_known_boxes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = SampleParams(
        train_identities=1, test_identities=1, clips_per_identity=1, seconds=0.5, frame_size=64
    )
    videos = acquire(DataParams(sample=small), Path("raw"))
    assert sorted(video.split for video in videos) == ["test", "train"]
    for video in videos:
        assert video.path.is_file() and video.boxes is not None and video.boxes.is_file()
    assert read_raw_videos(Path("raw")) == videos


def test_a_damaged_videos_csv_is_named(root):
    acquire(folder_params(), Path("raw"))
    text = Path("raw/videos.csv").read_text().replace(",1,,,,", ",1,first,,,")
    Path("raw/videos.csv").write_text(text)
    with pytest.raises(KPBEError, match=r"line 2.*first"):
        read_raw_videos(Path("raw"))
    with pytest.raises(KPBEError, match="run the stage acquire"):
        read_raw_videos(Path("nowhere"))


@pytest.mark.parametrize(
    ("name", "plain"), [("Ann Lee/2", "Ann-Lee-2"), ("a#b", "a-b"), ("Jürgen", "Jürgen"), ("..", "unnamed")]
)
def test_names_fit_into_clip_ids(name, plain):
    assert plain_name(name) == plain


def test_long_names_are_cut_and_stay_different():
    long = ["ä" * 150 + end for end in ("a", "b")]
    plain = [plain_name(name) for name in long]
    assert plain[0] != plain[1] and all(len(name.encode()) <= 80 for name in plain)
    clip_id = make_clip_id(plain[0], plain[1], 0, 99999)
    assert len(f".unfinished-{clip_id}.landmarks.npy".encode()) < 255
    assert plain_name("x" * 80) == "x" * 80


def test_odd_names_reject_one_video_and_no_more(root):
    try:
        (root / os.fsdecode(b"anna/\xff.mp4")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (root / "anna" / ("long" * 50 + ".mp4")).touch()
    videos = acquire(folder_params(max_rejected_fraction=0.5), Path("raw"))
    assert len(videos) == 5
    (row,) = read_csv(Path("raw/rejected.csv"))
    assert "xff.mp4" in row["path"] and "not in UTF-8" in row["reason"]


def test_empty_boxes_are_refused():
    with pytest.raises(ValueError, match="empty"):
        parse_bbox("10-10-10-20")
