"""Files of public data sets as they are published: every official column, in its order, type and way of writing.

``<name>_row`` is one row of a log, for tests of single cells; ``write_<name>`` writes a small data set that can be
learnt: users like items of their own topic.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tests.data.toy_views import (
    PER_DAY,
    TOPICS,
    Row,
    View,
    beijing_ms,
    item_count,
    later,
    views,
    write_csv,
    write_feather,
)


def names(*lines: str) -> list[str]:
    return ",".join(lines).split(",")


# RecFlow -------------------------------------------------------------------------------------------------------------

RECFLOW = names(
    "request_id,request_timestamp,user_id,device_id,age,gender,province,video_id,author_id,category_level_one",
    "category_level_two,upload_type,upload_timestamp,duration,realshow,rerank_pos,rerank_neg,rank_pos,rank_neg",
    "coarse_neg,prerank_neg,rank_index,rerank_index,playing_time,effective_view,long_view,like,follow,forward,comment",
)


def recflow_row(**changes: Any) -> Row:
    described = {"upload_timestamp": beijing_ms("2024-01-10") // 1000, "duration": 10_000}
    return dict.fromkeys(RECFLOW, 0) | {"request_timestamp": beijing_ms("2024-01-13", "18:30:00")} | described | changes


def write_recflow(root: Path, users: int = 60, days: int = 10, seed: int = 1) -> Path:
    """Two requests per user and day: four shown items, and eight that later or earlier stages dropped."""
    first, g = "2024-01-13", np.random.default_rng(seed + 1)
    shown = [row for view in views(users, days, seed) for row in [_recflow_shown(view, first)]]
    by_day: dict[int, list[Row]] = {}
    for n in range(0, len(shown), 4):
        request = shown[n : n + 4]
        dropped = [
            _recflow_dropped(request[0], int(item), k) for k, item in enumerate(g.permutation(item_count(days))[:8])
        ]
        taken = {row["video_id"] for row in request}
        candidates = [*request, *(row for row in dropped if row["video_id"] not in taken)]
        fits = np.array([row["category_level_two"] % TOPICS == row["user_id"] % TOPICS for row in candidates])
        order = np.argsort(-(fits + g.normal(size=len(candidates))))
        for place, index in enumerate(order):
            candidates[index]["rank_index"] = place
        by_day.setdefault(n // PER_DAY % days, []).extend(candidates)
    for day, rows in by_day.items():
        name = f"{later(first, day)}.feather"
        write_feather(root / "all_stage" / name, RECFLOW, rows)
        write_feather(root / "realshow" / name, RECFLOW, [row for row in rows if row["realshow"]])
    return root


def _recflow_video(item: int) -> Row:
    return {"video_id": item, "author_id": item // 5 + 1, "category_level_one": 1, "category_level_two": item % TOPICS}


def _recflow_shown(view: View, first: str) -> Row:
    request = (view.user * 1000 + view.day) * 2 + view.slot // 4
    played = view.play_ms / view.duration_ms
    feedback = {"effective_view": int(played >= 0.3), "long_view": int(played >= 1), "playing_time": view.play_ms}
    feedback |= {"like": view.flag(0, 0.5, 0.05), "follow": view.flag(1, 0.2, 0.02)}
    feedback |= {"forward": view.flag(2, 0.1, 0.02), "comment": view.flag(3, 0.2, 0.05)}
    return recflow_row(
        request_id=request,
        request_timestamp=beijing_ms(later(first, view.day), "12:00:00") + view.slot // 4 * 60_000,
        user_id=view.user,
        gender=view.user % TOPICS,
        duration=view.duration_ms,
        **_recflow_video(view.item),
        **(dict.fromkeys(("realshow", "rerank_pos", "rank_pos"), 1) | feedback),
    )


def _recflow_dropped(like: Row, item: int, k: int) -> Row:
    shared = {c: like[c] for c in ("request_id", "request_timestamp", "user_id", "gender")}
    return recflow_row(**shared, **_recflow_video(item), **{"rerank_neg" if k % 2 else "rank_neg": 1})


# KuaiRec -------------------------------------------------------------------------------------------------------------

KUAIREC = names("user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio")
KUAIREC_USERS = names(
    "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num",
    "follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range",
    "register_days,register_days_range",
    *(f"onehot_feat{i}" for i in range(18)),
)
KUAIREC_DAILY = names(
    "video_id,date,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,video_width,video_height",
    "music_id,video_tag_id,video_tag_name,show_cnt,show_user_num,play_cnt,play_user_num,play_duration",
    *(f"{kind}_play_cnt,{kind}_play_user_num" for kind in ("complete", "valid", "long_time", "short_time")),
    "play_progress,comment_stay_duration,like_cnt,like_user_num,click_like_cnt,double_click_cnt,cancel_like_cnt",
    "cancel_like_user_num,comment_cnt,comment_user_num,direct_comment_cnt,reply_comment_cnt,delete_comment_cnt",
    "delete_comment_user_num,comment_like_cnt,comment_like_user_num,follow_cnt,follow_user_num,cancel_follow_cnt",
    "cancel_follow_user_num,share_cnt,share_user_num,download_cnt,download_user_num,report_cnt,report_user_num",
    "reduce_similar_cnt,reduce_similar_user_num,collect_cnt,collect_user_num,cancel_collect_cnt",
    "cancel_collect_user_num",
)


def kuairec_row(play: int = 5_000, duration: int = 10_000, ms: int | None = 1_593_878_903_438, **changes: Any) -> Row:
    """``ms`` None: a row without a time, as the small matrix has them."""
    timed = dict.fromkeys(("time", "date", "timestamp"))
    if ms is not None:
        moment = datetime.fromtimestamp(ms / 1000 + 8 * 3600, tz=UTC)
        timed = {
            "time": f"{moment:%Y-%m-%d %H:%M:%S}.{ms % 1000:03}",
            "date": f"{moment:%Y%m%d}",
            "timestamp": ms / 1000,
        }
    watched = {"play_duration": play, "video_duration": duration, "watch_ratio": play / duration}
    return {"user_id": 0, "video_id": 0} | timed | watched | changes


def kuairec_user(user: int, **changes: Any) -> Row:
    ranges = {c: "(0,10]" for c in KUAIREC_USERS if c.endswith("_range")}
    return dict.fromkeys(KUAIREC_USERS, 1) | {"user_id": user, "user_active_degree": "full_active"} | ranges | changes


def kuairec_daily(video: int, **changes: Any) -> Row:
    fixed = {
        "video_type": "NORMAL",
        "upload_dt": "2020-06-30",
        "upload_type": "ShortImport",
        "visible_status": "public",
    }
    size = {"video_duration": 10_000.0, "video_width": 720, "video_height": 1280, "video_tag_name": "祝福"}
    return dict.fromkeys(KUAIREC_DAILY, 1) | {"video_id": video, "date": 20200705} | fixed | size | changes


def write_kuairec(root: Path, users: int = 60, days: int = 10, seed: int = 1, matrix: str = "big") -> Path:
    first, data = "2020-07-05", root / "data"
    rows = [
        kuairec_row(
            view.play_ms,
            view.duration_ms,
            beijing_ms(later(first, view.day), "09:00:00") + view.slot * 60_000,
            user_id=view.user,
            video_id=view.item,
        )
        for view in views(users, days, seed)
    ]
    items = range(item_count(days))
    write_csv(data / f"{matrix}_matrix.csv", KUAIREC, rows)
    write_csv(
        data / "user_features.csv", KUAIREC_USERS, [kuairec_user(u, onehot_feat0=u % TOPICS) for u in range(users)]
    )
    write_csv(
        data / "item_categories.csv", ["video_id", "feat"], [{"video_id": i, "feat": [i % TOPICS, 9]} for i in items]
    )
    daily = [kuairec_daily(i, author_id=i // 5 + 1, date=date) for i in items for date in (20200705, 20200706)]
    write_csv(data / "item_daily_features.csv", KUAIREC_DAILY, daily)
    return root


# Tenrec --------------------------------------------------------------------------------------------------------------

TENREC = names("user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age")
TENREC_CTR = [*TENREC, *(f"hist_{i}" for i in range(1, 11))]


def tenrec_row(**changes: Any) -> Row:
    return (
        dict.fromkeys(TENREC_CTR, 0)
        | {"user_id": 1, "item_id": 4, "video_category": 1, "gender": 1, "age": 4}
        | changes
    )


def write_tenrec(root: Path, users: int = 60, days: int = 10, seed: int = 1, file: str = "ctr_data_1M") -> Path:
    rows = []
    for view in views(users, days, seed):
        click = view.flag(0, 0.8, 0.2)
        feedback = {
            "click": click,
            "watching_times": click * (1 + view.flag(1, 0.5, 0.2)),
            "like": view.flag(2, 0.4, 0.05),
        }
        feedback |= {"follow": view.flag(3, 0.2, 0.02), "share": view.flag(4, 0.2, 0.02)}
        user = {"user_id": view.user + 1, "gender": view.user % TOPICS, "age": r"\N" if view.user == 0 else 4}
        rows.append(tenrec_row(item_id=view.item + 1, video_category=view.item % 2, **user, **feedback))
    write_csv(root / f"{file}.csv", TENREC_CTR if file == "ctr_data_1M" else TENREC, rows)
    return root


# KuaiSAR -------------------------------------------------------------------------------------------------------------

KUAISAR = names(
    "user_id,item_id,playing_time,duration_ms,time,timestamp,click,forward,like,follow,search,search_item_related"
)
KUAISAR_USERS = names("user_id,search_active_level,rec_active_level,onehot_feat1,onehot_feat2")
KUAISAR_ITEMS = names(
    "item_id,caption,author_id,item_type,upload_time,upload_type",
    *(f"{n}_level_category_id,{n}_level_category_name,{n}_level_category_name_en" for n in ("first", "second")),
    *(f"{n}_level_category_id,{n}_level_category_name,{n}_level_category_name_en" for n in ("third", "fourth")),
)


def kuaisar_row(ms: int = 1_684_742_000_000, **changes: Any) -> Row:
    moment = datetime.fromtimestamp(ms / 1000 + 8 * 3600, tz=UTC)
    sent = {"time": f"{moment:%Y-%m-%d %H:%M:%S}", "timestamp": float(ms)}
    return dict.fromkeys(KUAISAR, 0) | {"playing_time": 4000.0, "duration_ms": 10000.0} | sent | changes


def kuaisar_item(item: int, **changes: Any) -> Row:
    unknown = {c: 0 if c.endswith("_id") else "空" if c.endswith("name") else "empty" for c in KUAISAR_ITEMS}
    fixed = {"caption": [1, 213, 24], "item_type": "NORMAL", "upload_time": "2023-04-22", "upload_type": "LongImport"}
    return unknown | fixed | {"item_id": item, "author_id": 10, "first_level_category_id": 9} | changes


def write_kuaisar(root: Path, users: int = 60, days: int = 10, seed: int = 1) -> Path:
    """Requests of four items that share a timestamp."""
    rows = []
    for view in views(users, days, seed):
        feedback = {"click": view.flag(0, 0.8, 0.2), "like": view.flag(1, 0.5, 0.05), "follow": view.flag(2, 0.2, 0.02)}
        feedback |= {"forward": view.flag(3, 0.2, 0.02), "search": view.flag(4, 0.2, 0.05)}
        sent = beijing_ms(later("2023-05-22", view.day), "15:00:00") + view.slot // 4 * 3_600_000
        watched = {"playing_time": float(view.play_ms), "duration_ms": float(view.duration_ms)}
        rows.append(kuaisar_row(sent, user_id=view.user, item_id=view.item, **watched, **feedback))
    write_csv(root / "rec_inter.csv", KUAISAR, rows)
    people = [dict.fromkeys(KUAISAR_USERS, 1) | {"user_id": u, "onehot_feat2": u % TOPICS} for u in range(users)]
    write_csv(root / "user_features.csv", KUAISAR_USERS, people)
    items = [
        kuaisar_item(i, author_id=i // 5 + 1, second_level_category_id=1 + i % TOPICS) for i in range(item_count(days))
    ]
    write_csv(root / "item_features.csv", KUAISAR_ITEMS, items)
    return root


# WeChat Channels -----------------------------------------------------------------------------------------------------

WECHAT = names("userid,feedid,date_,device,read_comment,comment,like,play,stay,click_avatar,forward,follow,favorite")
WECHAT_FEEDS = names(
    "feedid,authorid,videoplayseconds,description,ocr,asr,bgm_song_id,bgm_singer_id,manual_keyword_list",
    "machine_keyword_list,manual_tag_list,machine_tag_list,description_char,ocr_char,asr_char",
)


def wechat_row(**changes: Any) -> Row:
    return dict.fromkeys(WECHAT, 0) | {"date_": 1, "device": 1, "play": 4000, "stay": 4500} | changes


def wechat_feed(feed: int, **changes: Any) -> Row:
    texts = dict.fromkeys(("description", "ocr", "asr", "description_char", "ocr_char", "asr_char"), "12 7 12")
    tags = {"manual_keyword_list": "5;6", "machine_keyword_list": "5;9", "machine_tag_list": "12 0.9;3 0.1"}
    known = {"feedid": feed, "authorid": 3, "videoplayseconds": 10, "bgm_song_id": 8.0, "bgm_singer_id": 2.0}
    return texts | tags | {"manual_tag_list": "12;3"} | known | changes


def write_wechat(root: Path, users: int = 60, days: int = 10, seed: int = 1) -> Path:
    rows, seconds = [], {}
    for view in views(users, days, seed):
        seconds[view.item] = round(view.duration_ms / 1000)
        feedback = {"like": view.flag(0, 0.5, 0.05), "read_comment": view.flag(1, 0.5, 0.1)}
        feedback |= {"click_avatar": view.flag(2, 0.3, 0.05), "forward": view.flag(3, 0.3, 0.05)}
        feedback |= {"comment": view.flag(4, 0.1, 0.02), "follow": view.flag(5, 0.1, 0.02), "favorite": 0}
        seen = {"userid": view.user, "feedid": view.item, "date_": view.day + 1, "device": 1 + view.user % TOPICS}
        rows.append(wechat_row(play=view.play_ms, stay=view.play_ms + 500, **seen, **feedback))
    write_csv(root / "user_action.csv", WECHAT, rows)
    feeds = [
        wechat_feed(i, authorid=i // 5 + 1, manual_tag_list=f"{i % TOPICS};9", videoplayseconds=s, bgm_song_id=None)
        for i, s in sorted(seconds.items())
    ]
    write_csv(root / "feed_info.csv", WECHAT_FEEDS, feeds)
    return root
