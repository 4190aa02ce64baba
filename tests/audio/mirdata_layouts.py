"""How data sets lie in their folders: of each, one track with made-up labels.

By the name of the data set: the track's name; the files that the index has of it; what is in them
and beside them; the labels of each task; and the part that the track belongs to.
"""

layouts = {
    "four_way_tabla": (
        "AHK_solo-tintal-1",
        {"audio": "train/audios/AHK_solo-tintal-1.wav"}
        | {f"onsets_{each}": f"train/onsets/{each}.onsets" for each in ("b", "d", "rb", "rt")},
        {
            "train/onsets/b.onsets": "0.5\n0.75\n",
            "train/onsets/d.onsets": "",
            "train/onsets/rb.onsets": "0.25\n",
            "train/onsets/rt.onsets": "0.6\n",
        },
        {"onsets": [0.25, 0.5, 0.6, 0.75]},
        None,
    ),
    "good_sounds": (
        "1",
        {"audio": "good-sounds/sound_files/flute_almudena_reference/akg/0000.wav"},
        {
            "takes.json": '{"1": {"sound_id": 7}}',
            "sounds.json": '{"7": {"instrument": "flute", "pack_id": 1}}',
            "packs.json": "{}",
            "ratings.json": "{}",
        },
        {"classes": "flute"},
        None,
    ),
    "jtd": (
        "barronk-song-1990-8b77c067_bass",
        {
            "audio": "processed/barronk-song-1990-8b77c067_bass.wav",
            "onsets": "annotations/barronk-song-1990-8b77c067/bass_onsets.csv",
            "beats": "annotations/barronk-song-1990-8b77c067/beats.csv",
            "midi": None,
        },
        {"annotations/barronk-song-1990-8b77c067/bass_onsets.csv": "0.1\n0.35\n0.6\n"},
        {"onsets": [0.1, 0.35, 0.6]},
        None,
    ),
    "mdb_stem_synth": (
        "Some_Song_STEM_08",
        {
            "audio": "audio_stems/Some_Song_STEM_08.RESYN.wav",
            "f0": "annotation_stems/Some_Song_STEM_08.RESYN.csv",
        },
        {"annotation_stems/Some_Song_STEM_08.RESYN.csv": "0.0,0.0\n0.0029,110.5\n"},
        {"pitch": ([0, 0.0029], [0, 110.5])},
        None,
    ),
    "medleydb_melody": (
        "Some_Song",
        {"audio": "audio/Some_Song_MIX.wav"}
        | {f"melody{i}": f"melody{i}/Some_Song_MELODY{i}.csv" for i in (1, 2, 3)},
        {
            "melody2/Some_Song_MELODY2.csv": "0.0,0.0\n0.0058,220.0\n",
            "melody3/Some_Song_MELODY3.csv": "0.0,0.0,0.0\n0.0058,220.0,330.0\n",
            "medleydb_melody_metadata.json": '{"Some_Song": {}}',
        },
        {"pitch": ([0, 0.0058], [0, 220]), "multi_f0": ([0, 0.0058], [[], [220, 330]])},
        None,
    ),
    "medleydb_pitch": (
        "Some_Song_STEM_08",
        {
            "audio": "audio/Some_Song_STEM_08.wav",
            "pitch": "pitch/Some_Song_STEM_08.csv",
            "notes_pyin": "notes.csv",
        },
        {
            "pitch/Some_Song_STEM_08.csv": "0.0,0.0\n0.0058,220.0\n",
            "medleydb_pitch_metadata.json": '{"Some_Song_STEM_08": {"instrument": "cello"}}',
        },
        {"pitch": ([0, 0.0058], [0, 220]), "classes": "cello"},
        None,
    ),
    "mtg_jamendo_autotagging_moodtheme": (
        "track_0000948",
        {"audio": "audios/48/948.mp3"},
        {
            "data/autotagging_moodtheme.tsv": "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\t"
            "TAGS\ntrack_0000948\ta\tb\t48/948.mp3\t1.0\tmood/theme---calm\tmood/theme---deep\n"
        }
        | {
            f"data/splits/split-{i}/autotagging_moodtheme-{part}.tsv": "TRACK_ID\n"
            for i in range(5)
            for part in ("train", "validation", "test")
        },
        {"tags": ("calm", "deep")},
        None,
    ),
    "openmic2018": (
        "000046_3840",
        {"audio": "audio/000/000046_3840.ogg", "vggish": "vggish/000/000046_3840.json"},
        {
            "openmic-2018-metadata.csv": "track_id,track_genres,sample_key,start_time\n"
            "46,\"[{'genre_title': 'Folk'}]\",000046_3840,3.84\n",
            "openmic-2018-aggregated-labels.csv": "sample_key,instrument,relevance,num_responses\n"
            "000046_3840,clarinet,0.17,3\n000046_3840,flute,0.85,3\n",
            "partitions/split01_train.csv": "000046_3840\n",
        },
        {"tags": ("flute",)},
        "split01_train",
    ),
    "scms": (
        "Some_Song_2",
        {
            "audio": "SCMS/audio/Some_Song_2.wav",
            "pitch": "SCMS/annotations/melody/Some_Song_2.csv",
            "activations": "SCMS/annotations/activations/Some_Song_2.lab",
        },
        {
            "SCMS/annotations/melody/Some_Song_2.csv": "0.0,0.0\n0.0029,220.0\n",
            "SCMS/annotations/activations/Some_Song_2.lab": "0.0, 0.25, singer\n0.5, 0.75, singer",
            "SCMS/artists_to_track_mapping.json": '{"Someone": ["Some_Song_2"]}',
            "SCMS/metadata.json": '{"train": {"Someone": {"tonic": 200, "gender": "F"}}}',
        },
        {"pitch": ([0, 0.0029], [0, 220]), "voice": [[0, 0.25], [0.5, 0.75]]},
        None,
    ),
    "tinysol": (
        "Fl-ord-C4-mf-N-T14d",
        {"audio": "audio/Winds/Flute/ordinario/Fl-ord-C4-mf-N-T14d.wav"},
        {
            "annotation/TinySOL_metadata.csv": "Path,Fold,Family,Instrument (abbr.),"
            "Instrument (in full),Technique (abbr.),Technique (in full),Pitch,Pitch ID,"
            "Dynamics,Dynamics ID,Instance ID,String ID (if applicable),Needed digital retuning\n"
            "Winds/Flute/ordinario/Fl-ord-C4-mf-N-T14d.wav,3,Winds,Fl,Flute,ord,ordinario,C4,60,mf,2,"
            "0,,TRUE\n"
        },
        {"classes": "Flute"},
        "3",
    ),
    "tonas": (
        "01-D_AMairena",
        {
            "audio": "Deblas/01-D_AMairena.wav",
            "f0": "Deblas/01-D_AMairena.f0.Corrected",
            "notes": "Deblas/01-D_AMairena.notes.Corrected",
        },
        {
            "Deblas/01-D_AMairena.f0.Corrected": "0.0 0.1 0.0 0.0\n0.0058 0.1 430.0 220.0\n",
            "Deblas/01-D_AMairena.notes.Corrected": "-12\n0.25,0.25,57,0.1\n0.5,0.25,59,0.1\n",
            "TONAS-Metadata.txt": "01-D_AMairena.wav\tDebla\tEn el barrio\tSinger\n",
        },
        {"pitch": ([0, 0.0058], [0, 220]), "onsets": [0.25, 0.5]},
        None,
    ),
}
