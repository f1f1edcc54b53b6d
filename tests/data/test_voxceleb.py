from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kpbe.data.clips import make_clip_id
from kpbe.data.voxceleb import native_frames, raw_videos, read_metadata, scale_bbox
from kpbe.errors import KPBEError

HEADER = "video_id,start,end,bbox,fps,width,height,partition,person_id"


def test_frames_crops_and_names_are_the_references(golden):
    stored = golden("video_preprocessing")
    natives = dict(zip(stored["lv_videos"], stored["lv_native_fps_h_w"], strict=True))
    _, width, height = (int(x) for x in stored["lv_ref_fps_w_h"])
    names = []
    rows = zip(
        stored["lv_rows_start_end_l_t_r_b"],
        stored["lv_row_video"],
        stored["lv_result_first_last_count_l_t_r_b"],
        strict=True,
    )
    for (start, end, *box), video, expected in rows:
        fps, native_height, native_width = natives[video]
        taken = native_frames(int(start), int(end), float(fps))
        left, top, right, bottom = map(int, box)
        crop = scale_bbox(
            (left, top, right, bottom), (width, height), (int(native_width), int(native_height))
        )
        np.testing.assert_array_equal([taken[0], taken[-1], len(taken), *crop], expected)
        names.append(make_clip_id("id1", str(video), int(start), int(end)) + ".mp4")
    assert sorted(names) == sorted(stored["lv_names"])


def metadata(folder: Path, *rows: str) -> Path:
    path = folder / "vox-metadata.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_videos_that_were_not_downloaded_are_named_with_a_reason(tmp_path):
    (tmp_path / "there.webm").touch()
    listed = metadata(
        tmp_path,
        "there,100,200,10-20-110-120,25,640,360,train,id10001",
        "gone,100,200,10-20-110-120,25,640,360,test,id10270",
    )
    videos, rejections = raw_videos(listed, tmp_path)
    assert [(video.path, video.start, video.end, video.bbox) for video in videos] == [
        (tmp_path / "there.webm", 100, 200, (10, 20, 110, 120))
    ]
    assert [(r.clip_id, r.reason) for r in rejections] == [
        ("id10270#gone#000100#000200", "the video was not downloaded")
    ]
    assert "gone" in rejections[0].path


def test_a_clip_listed_in_both_partitions_is_a_test_clip(tmp_path):
    (tmp_path / "video.mp4").touch()
    row = "video,100,200,10-20-110-120,25,640,360,{},id10282"
    videos, rejections = raw_videos(
        metadata(tmp_path, row.format("train"), row.format("test"), row.format("train")), tmp_path
    )
    assert [video.split for video in videos] == ["test"]
    assert rejections == []


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("v,200,100,1-2-3-4,25,640,360,train,id1", "line 2.*start 200 and end 100"),
        ("v,100,200,1-2-3,25,640,360,train,id1", "line 2.*left-top-right-bottom"),
        ("v,100,200,1-2-3-4,30,640,360,train,id1", "line 2.*30 fps"),
        ("v,100,200,1-2-3-4,25,640,360,dev,id1", "line 2.*dev"),
        ("v,100,200,1-2-3-4,25,640,wide,train,id1", "line 2"),
    ],
)
def test_wrong_rows_are_named_by_line(tmp_path, row, complaint):
    with pytest.raises(KPBEError, match=complaint):
        read_metadata(metadata(tmp_path, row))


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("video,start,end\na,1,2\n")
    with pytest.raises(KPBEError, match="video_id"):
        read_metadata(path)
    with pytest.raises(KPBEError, match=r"absent\.csv"):
        read_metadata(tmp_path / "absent.csv")


def test_published_metadata_gives_separate_identities(shared_clips, tmp_path):
    path = shared_clips.parent / "meta" / "vox-metadata.csv"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    clips = read_metadata(path)
    assert len(clips) == 20075
    for video_id in {clip.video_id for clip in clips}:
        (tmp_path / f"{video_id}.mp4").touch()
    videos, rejections = raw_videos(path, tmp_path)
    assert rejections == []
    assert len(videos) == len({clip.clip_id for clip in clips})
    test = {video.identity for video in videos if video.split == "test"}
    assert len(test) == 13
    assert test.isdisjoint(video.identity for video in videos if video.split == "train")
